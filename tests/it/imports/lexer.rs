//! Cuts Rust text into words and marks. Comments, literals and lifetimes are left out, so that a path in a doc comment or
//! in a string is no path.

#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// From 1.
    pub line: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An identifier or a keyword, without the `r#` of a raw one.
    Word(String),
    /// `::`
    PathSeparator,
    /// Any other sign.
    Mark(char),
}

/// The tokens of `text`, which is taken to be Rust that compiles.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.next();
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn next(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.skip_until(|l| l.peek(0) == '\n'),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.char_or_lifetime(),
            (':', ':') => {
                self.push(TokenKind::PathSeparator);
                self.skip(2);
            }
            (c, _) if c == '_' || c.is_alphabetic() => self.word(),
            (c, _) if c.is_ascii_digit() => self.skip_until(|l| !is_word(l.peek(0))),
            (c, _) => {
                if !c.is_whitespace() {
                    self.push(TokenKind::Mark(c));
                }
                self.skip(1);
            }
        }
    }

    /// The character `ahead` of here, NUL behind the end.
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn push(&mut self, kind: TokenKind) {
        let line = self.line;
        self.tokens.push(Token { kind, line });
    }

    /// Goes `count` characters on, and counts the lines.
    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn skip_until(&mut self, end: impl Fn(&Self) -> bool) {
        while self.at < self.chars.len() && !end(self) {
            self.skip(1);
        }
    }

    /// Block comments nest in Rust.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    /// At the opening quote of a string in which a backslash escapes.
    fn string(&mut self) {
        self.skip(1);
        while self.at < self.chars.len() {
            match self.peek(0) {
                '\\' => self.skip(2),
                '"' => return self.skip(1),
                _ => self.skip(1),
            }
        }
    }

    /// At the first `#` or the quote of a raw string.
    fn raw_string(&mut self) {
        let hashes = (0..).take_while(|i| self.peek(*i) == '#').count();
        self.skip(hashes + 1);
        self.skip_until(|l| l.peek(0) == '"' && (1..=hashes).all(|i| l.peek(i) == '#'));
        self.skip(hashes + 1);
    }

    /// `'a'` and `'\n'` are characters, `'a` alone is a lifetime or a label.
    fn char_or_lifetime(&mut self) {
        self.skip(1);
        if self.peek(0) == '\\' {
            self.skip(2);
            self.skip_until(|l| l.peek(0) == '\'');
            self.skip(1);
        } else if self.peek(1) == '\'' {
            self.skip(2);
        } else {
            self.skip_until(|l| !is_word(l.peek(0)));
        }
    }

    /// A word, unless it is the prefix of a literal (`r"…"`, `b'x'`) or of a raw identifier (`r#type`).
    fn word(&mut self) {
        let start = self.at;
        self.skip_until(|l| !is_word(l.peek(0)));
        let word: String = self.chars[start..self.at].iter().collect();
        match (word.as_str(), self.peek(0), self.peek(1)) {
            ("r" | "br" | "cr", '"', _) | ("r" | "br" | "cr", '#', '"' | '#') => self.raw_string(),
            ("b" | "c", '"', _) => self.string(),
            ("b", '\'', _) => self.char_or_lifetime(),
            ("r", '#', _) => self.skip(1),
            _ => self.push(TokenKind::Word(word)),
        }
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
