//! Reads the paths out of a Rust file: enough of the language to know which names a `use` tree, an expression, a type or
//! an attribute begins with, in which module it stands and whether it is test code.

use super::lexer::{Token, TokenKind, tokens};

/// Keywords that can stand before a path that begins with `::`, of which they are no part.
const BEFORE_PATHS: &[&str] = &[
    "as", "break", "const", "dyn", "else", "for", "if", "impl", "in", "match", "mut", "ref",
    "return", "static", "where", "while", "yield",
];

/// A file below `src/` and the paths that it names.
pub struct SourceFile {
    path: String,
    module: Vec<String>,
    references: Vec<Reference>,
    test_modules: Vec<Vec<String>>,
}

/// A path of at least two segments, or one that a `use` names alone.
pub struct Reference {
    pub target: Target,
    /// From 1.
    pub line: usize,
    /// In a `#[cfg(test)]` item of this file.
    pub in_test: bool,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Into this crate; absolute, the first segment is a room.
    Inside(Vec<String>),
    /// Into another crate, or to something that was imported before and is judged there.
    Outside(Vec<String>),
}

impl SourceFile {
    /// `path` is relative to `src/`, with `/` between its parts.
    pub fn read(path: &str, text: &str) -> Self {
        let module = module_of(path);
        let mut reader = Reader {
            tokens: tokens(text),
            at: 0,
            scopes: Vec::new(),
            pending_test: false,
            whole_file_is_test: false,
            file: Self {
                path: path.to_owned(),
                module,
                references: Vec::new(),
                test_modules: Vec::new(),
            },
        };
        reader.run();
        reader.file
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// The module that the file is, empty for `lib.rs` and `main.rs`.
    pub fn module(&self) -> &[String] {
        &self.module
    }

    /// The room that the file belongs to; `lib` and `main` are rooms of one file.
    pub fn room(&self) -> &str {
        let top = self.path.split('/').next().unwrap_or_default();
        top.strip_suffix(".rs").unwrap_or(top)
    }

    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Modules in files of their own that this file declares under `#[cfg(test)]`.
    pub fn test_modules(&self) -> impl Iterator<Item = &[String]> {
        self.test_modules.iter().map(Vec::as_slice)
    }
}

fn module_of(path: &str) -> Vec<String> {
    let mut module: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

/// What an open brace belongs to.
struct Scope {
    /// The name, if it is that of an inline module.
    module: Option<String>,
    is_test: bool,
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    scopes: Vec<Scope>,
    /// A `#[cfg(test)]` was read and its item has not ended yet.
    pending_test: bool,
    whole_file_is_test: bool,
    file: SourceFile,
}

impl Reader {
    fn run(&mut self) {
        while let Some(kind) = self.kind(0) {
            match kind {
                TokenKind::Mark('#') => self.attribute(),
                TokenKind::Mark('{') => self.open(None),
                TokenKind::Mark('}') => {
                    self.scopes.pop();
                    self.pending_test = false;
                    self.at += 1;
                }
                TokenKind::Mark(';') => {
                    self.pending_test = false;
                    self.at += 1;
                }
                TokenKind::Word(word) if word == "mod" => self.module(),
                TokenKind::Word(word) if word == "use" => self.import(),
                TokenKind::Word(word) if BEFORE_PATHS.contains(&word.as_str()) => self.at += 1,
                TokenKind::Word(_) => self.path(),
                _ => self.at += 1,
            }
        }
    }

    fn kind(&self, ahead: usize) -> Option<&TokenKind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        match self.kind(ahead) {
            Some(TokenKind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_mark(&self, ahead: usize, mark: char) -> bool {
        self.kind(ahead) == Some(&TokenKind::Mark(mark))
    }

    fn open(&mut self, module: Option<String>) {
        let is_test = std::mem::take(&mut self.pending_test);
        self.scopes.push(Scope { module, is_test });
        self.at += 1;
    }

    /// At `#`: remembers a `cfg(test)`, and steps into the brackets, where paths are read as anywhere else.
    fn attribute(&mut self) {
        let inner = self.is_mark(1, '!');
        let start = if inner { 2 } else { 1 };
        if self.is_mark(start, '[')
            && self.word(start + 1) == Some("cfg")
            && self.word(start + 3) == Some("test")
        {
            if inner && self.scopes.is_empty() {
                self.whole_file_is_test = true;
            } else if !inner {
                self.pending_test = true;
            }
        }
        self.at += start;
    }

    /// At `mod`: an inline module is entered, one in another file noted if it is a test.
    fn module(&mut self) {
        let Some(name) = self.word(1).map(str::to_owned) else {
            self.at += 1;
            return;
        };
        self.at += 2;
        if self.is_mark(0, '{') {
            self.open(Some(name));
        } else if self.in_test() {
            let mut module = self.current_module();
            module.push(name);
            self.file.test_modules.push(module);
        }
    }

    /// At `use`: what it names counts even if it is a single word.
    fn import(&mut self) {
        self.at += 1;
        if self.kind(0) == Some(&TokenKind::PathSeparator) {
            self.at += 1;
        }
        for (path, line) in self.tree() {
            // Empty for the `use<'a>` of an `impl Trait`, which imports nothing.
            if !path.is_empty() {
                self.refer(path, line);
            }
        }
    }

    /// At a word that may begin a path.
    fn path(&mut self) {
        for (path, line) in self.tree() {
            // `crate::name!` is an exported macro: those stand at the root of the crate, whatever room wrote them.
            let is_root_macro = self.is_mark(0, '!') && path.len() == 2 && path[0] == "crate";
            if path.len() > 1 && !is_root_macro {
                self.refer(path, line);
            }
        }
    }

    /// Reads `a::b`, `a::*` or `a::{b, c::d}`: each path with the line on which it, or its part in the braces, begins.
    fn tree(&mut self) -> Vec<(Vec<String>, usize)> {
        let mut paths = Vec::new();
        self.branch(Vec::new(), &mut paths);
        paths
    }

    fn branch(&mut self, mut prefix: Vec<String>, paths: &mut Vec<(Vec<String>, usize)>) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.kind(0) {
                Some(TokenKind::Word(word)) => prefix.push(word.clone()),
                Some(TokenKind::Mark('*')) => prefix.push("*".to_owned()),
                Some(TokenKind::Mark('{')) => return self.group(&prefix, paths),
                _ => break,
            }
            self.at += 1;
            let goes_on = self.kind(0) == Some(&TokenKind::PathSeparator)
                && matches!(
                    self.kind(1),
                    Some(TokenKind::Word(_) | TokenKind::Mark('*' | '{'))
                );
            if !goes_on {
                break;
            }
            self.at += 1;
        }
        paths.push((prefix, line));
    }

    /// At the `{` of a `use` tree.
    fn group(&mut self, prefix: &[String], paths: &mut Vec<(Vec<String>, usize)>) {
        self.at += 1;
        while let Some(token) = self.tokens.get(self.at) {
            match &token.kind {
                TokenKind::Mark('}') => {
                    self.at += 1;
                    return;
                }
                // The new name in `a as b` is no path.
                TokenKind::Word(word) if word == "as" => self.at += 2,
                TokenKind::Word(_) | TokenKind::Mark('*' | '{') => {
                    self.branch(prefix.to_vec(), paths);
                }
                _ => self.at += 1,
            }
        }
    }

    fn refer(&mut self, path: Vec<String>, line: usize) {
        let target = self.resolve(path);
        let in_test = self.in_test();
        self.file.references.push(Reference {
            target,
            line,
            in_test,
        });
    }

    fn resolve(&self, path: Vec<String>) -> Target {
        // The binary's `main.rs` knows the library by its name.
        if path[0] == "crate" || path[0] == "tenure" {
            return Target::Inside(path[1..].to_vec());
        }
        let own = usize::from(path[0] == "self");
        let up = path[own..].iter().take_while(|s| *s == "super").count();
        if own + up == 0 {
            return Target::Outside(path);
        }
        let mut absolute = self.current_module();
        absolute.truncate(absolute.len().saturating_sub(up));
        absolute.extend_from_slice(&path[own + up..]);
        Target::Inside(absolute)
    }

    fn current_module(&self) -> Vec<String> {
        let inline = self.scopes.iter().filter_map(|scope| scope.module.clone());
        self.file.module.iter().cloned().chain(inline).collect()
    }

    fn in_test(&self) -> bool {
        self.whole_file_is_test || self.pending_test || self.scopes.iter().any(|s| s.is_test)
    }
}
