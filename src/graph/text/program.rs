//! The instructions of a template as they are carried out: every one that can make more than it reads is charged before.
//!
//! The engine counts instructions, and one instruction may copy megabytes or double a text. It has no hook for operators and literal parts,
//! so those instructions are exchanged for calls of functions that charge and then do the same.

use super::builtins::{ADD, COMPARE, CONCAT, IN, ITEM, MULTIPLY, PLAIN, SHALLOW, SLICE, WEIGH};
use minijinja::{
    Value,
    machinery::{CompiledTemplate, Instruction, Instructions, Token, tokenize},
};
use std::collections::BTreeMap;

/// Global whose value is 1.
pub(super) const ONE: &str = "__one";

/// Longest name of a variable or field, in bytes: each look at it reads it, for the price of one instruction.
const MAX_NAME: usize = 256;

/// The source with every product made dependent on a variable: the engine would compute one of two literals while it compiles, and
/// `"x" * 99999999` is a hundred megabytes.
///
/// # Errors
/// What is no token, or a name that is too long.
pub(super) fn without_constant_products(source: &str) -> Result<String, minijinja::Error> {
    let mut made = String::with_capacity(source.len());
    let (mut copied, mut after_operand) = (0, false);
    for token in tokenize(source, false, Default::default()) {
        let (token, span) = token?;
        if let Token::Ident(name) = &token
            && name.len() > MAX_NAME
        {
            return Err(minijinja::Error::new(
                minijinja::ErrorKind::SyntaxError,
                format!(
                    "a name has {} bytes, at most {MAX_NAME} are possible; a longer key is read with brackets, as in input['…']",
                    name.len()
                ),
            ));
        }
        let end = span.end_offset as usize;
        if matches!(token, Token::Mul) && after_operand {
            made.push_str(&source[copied..end]);
            made.push_str(concat!(" ", "__one", " *"));
            copied = end;
        }
        after_operand = matches!(
            token,
            Token::Ident(_)
                | Token::Str(_)
                | Token::String(_)
                | Token::Int(_)
                | Token::Int128(_)
                | Token::Float(_)
                | Token::BracketClose
                | Token::ParenClose
                | Token::BraceClose
        );
    }
    made.push_str(&source[copied..]);
    Ok(made)
}

/// # Errors
/// A sentence, if the template wants other templates: there are none.
pub(super) fn check(template: &CompiledTemplate<'_>) -> Result<(), String> {
    let all = std::iter::once(&template.instructions).chain(template.blocks.values());
    for instructions in all {
        let own = (0..).map_while(|at| instructions.get(at));
        for instruction in own {
            if matches!(
                instruction,
                Instruction::Include(_) | Instruction::LoadBlocks
            ) {
                return Err(
                    "a text cannot include, import or extend others: there are none".into(),
                );
            }
        }
    }
    Ok(())
}

/// What is carried out of a template. `literal` says how a text that stands in it is loaded.
pub(super) struct Program<'s> {
    pub main: Instructions<'s>,
    pub blocks: BTreeMap<&'s str, Instructions<'s>>,
}

impl<'s> Program<'s> {
    pub fn of(template: &CompiledTemplate<'s>, safe_literals: bool) -> Self {
        let metered = |from: &Instructions<'s>| metered(from, safe_literals);
        Self {
            main: metered(&template.instructions),
            blocks: template
                .blocks
                .iter()
                .map(|(name, block)| (*name, metered(block)))
                .collect(),
        }
    }
}

fn metered<'s>(from: &Instructions<'s>, safe_literals: bool) -> Instructions<'s> {
    // Where each instruction begins once others stand before it.
    let mut starts = Vec::new();
    let mut next = 0u32;
    let own = || (0..).map_while(|at| from.get(at));
    for instruction in own() {
        starts.push(next);
        next += exchanged(instruction, safe_literals).len() as u32;
    }
    starts.push(next);
    let moved = |target: u32| starts.get(target as usize).copied().unwrap_or(next);
    let mut made = Instructions::new(from.name(), from.source());
    for (at, instruction) in own().enumerate() {
        let line = from
            .get_line(at as u32)
            .and_then(|line| u16::try_from(line).ok())
            .unwrap_or(1);
        for instruction in exchanged(instruction, safe_literals) {
            let instruction = match instruction {
                Instruction::Iterate(to) => Instruction::Iterate(moved(to)),
                Instruction::Jump(to) => Instruction::Jump(moved(to)),
                Instruction::JumpIfFalse(to) => Instruction::JumpIfFalse(moved(to)),
                Instruction::JumpIfFalseOrPop(to) => Instruction::JumpIfFalseOrPop(moved(to)),
                Instruction::JumpIfTrueOrPop(to) => Instruction::JumpIfTrueOrPop(moved(to)),
                Instruction::BuildMacro(name, to, flags) => {
                    Instruction::BuildMacro(name, moved(to), flags)
                }
                other => other,
            };
            made.add_with_line(instruction, line);
        }
    }
    made
}

/// What stands for an instruction. Jumps keep their targets here.
fn exchanged<'s>(instruction: &Instruction<'s>, safe_literals: bool) -> Vec<Instruction<'s>> {
    use Instruction as I;
    let call = |name: &'static str, count: u16| vec![I::CallFunction(name, Some(count))];
    let compare = |how: &'static str| {
        vec![
            I::LoadConst(Value::from(how)),
            I::CallFunction(COMPARE, Some(3)),
        ]
    };
    match instruction {
        I::EmitRaw(text) => vec![
            I::LoadConst(Value::from_safe_string((*text).to_owned())),
            I::Emit,
        ],
        I::LoadConst(value) => match value.as_str() {
            Some(text) if safe_literals => {
                vec![I::LoadConst(Value::from_safe_string(text.to_owned()))]
            }
            _ => vec![instruction.clone()],
        },
        I::Add => call(ADD, 2),
        I::Mul => call(MULTIPLY, 2),
        I::StringConcat => call(CONCAT, 2),
        I::Slice => call(SLICE, 4),
        I::GetItem => call(ITEM, 2),
        I::In => call(IN, 2),
        I::Eq => compare("=="),
        I::Ne => compare("!="),
        I::Gt => compare(">"),
        I::Gte => compare(">="),
        I::Lt => compare("<"),
        I::Lte => compare("<="),
        // Both operands are on the stack, the right one on top.
        I::CompareAndPreserve(_) => vec![
            I::CallFunction(WEIGH, Some(1)),
            I::Swap,
            I::CallFunction(WEIGH, Some(1)),
            I::Swap,
            instruction.clone(),
        ],
        // The object is on top of the value.
        I::SetAttr(_) => vec![
            I::Swap,
            I::CallFunction(PLAIN, Some(1)),
            I::Swap,
            instruction.clone(),
        ],
        // `f(*list)` puts each element on the stack, `f(**map)` copies each entry.
        I::UnpackLists(count) | I::MergeKwargs(count) => weighed(*count, instruction),
        // The loop keeps what it is given and compares it. Beneath the arguments is the loop itself.
        I::CallMethod(_, Some(count)) if *count > 1 => {
            weighed(usize::from(*count) - 1, instruction)
        }
        I::CallFunction("namespace", Some(count)) if *count > 0 => {
            weighed(usize::from(*count), instruction)
        }
        I::BuildList(_) | I::BuildTuple(_) | I::BuildMap(_) => {
            vec![instruction.clone(), I::CallFunction(SHALLOW, Some(1))]
        }
        other => vec![other.clone()],
    }
}

/// An instruction whose operands, so many on top of the stack, are weighed before: as a list, whose unpacking puts their number above them.
fn weighed<'s>(count: usize, instruction: &Instruction<'s>) -> Vec<Instruction<'s>> {
    use Instruction as I;
    vec![
        I::BuildList(Some(count)),
        I::CallFunction(WEIGH, Some(1)),
        I::UnpackLists(1),
        I::DiscardTop,
        instruction.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_depend_on_a_variable_and_arguments_do_not() {
        for (source, expected) in [
            ("a * {{ 'x' * 9 }}", "a * {{ 'x' * __one * 9 }}"),
            ("{{ (1, 2) * n ** 2 }}", "{{ (1, 2) * __one * n ** 2 }}"),
            ("{{ f(*list, **more) }}", "{{ f(*list, **more) }}"),
            (
                "{{ '*' ~ \"2*3\" }} ä {# 2 * 3 #}",
                "{{ '*' ~ \"2*3\" }} ä {# 2 * 3 #}",
            ),
        ] {
            assert_eq!(without_constant_products(source).expect(source), expected);
        }
    }
}
