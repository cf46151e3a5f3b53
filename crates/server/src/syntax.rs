//! Whether a script compiles, with the line that is wrong (ADR 0007). Lua is asked of its own compiler, Python of the
//! parser of ruff, told to be as old as what MicroPython knows of the language. Nothing is run here.

use motehub_domain::script::{Language, Syntax};
use ruff_python_ast::PythonVersion;
use ruff_python_parser::{Mode, ParseOptions};

/// Memory that the compiler may take.
const COMPILER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Stack of the Python parser, which calls itself for every bracket: enough for a source that is nothing else. Only
/// what is used of it takes memory.
const PARSER_STACK_BYTES: usize = 256 * 1024 * 1024;
/// MicroPython has what Python 3.4 has, f-strings and `:=`, and no `match`.
const PYTHON: PythonVersion = PythonVersion::PY38;

/// Compiles a source text and throws the result away.
pub(crate) fn check(language: Language, source: &str) -> Syntax {
    match language {
        Language::Lua => check_lua(source),
        Language::Python => check_python(source),
    }
}

fn check_python(source: &str) -> Syntax {
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        let parsed = parser.spawn_scoped(scope, || parse(source)).ok().and_then(|thread| thread.join().ok());
        parsed.unwrap_or_else(|| Syntax::Error { line: 1, message: "it could not be checked".to_owned() })
    })
}

fn parse(source: &str) -> Syntax {
    let options = ParseOptions::from(Mode::Module).with_target_version(PYTHON);
    let parsed = ruff_python_parser::parse_unchecked(source, options);
    let wrong = parsed.errors().first().map(|error| (error.location.start(), error.error.to_string()));
    let unknown = || {
        let found = parsed.unsupported_syntax_errors().first()?;
        let message = found.to_string();
        let message = message.split(" on Python ").next().unwrap_or(&message);
        Some((found.range.start(), format!("{message} in MicroPython")))
    };
    match wrong.or_else(unknown) {
        None => Syntax::Good,
        Some((at, message)) => {
            let before = source.as_bytes().iter().take(at.to_usize());
            let lines = before.filter(|byte| **byte == b'\n').count();
            Syntax::Error {
                line: i64::try_from(lines + 1).unwrap_or(i64::MAX),
                message: first_line(&message),
            }
        }
    }
}

fn check_lua(source: &str) -> Syntax {
    let lua = mlua::Lua::new_with(mlua::StdLib::NONE, mlua::LuaOptions::default());
    let compiled = lua.and_then(|lua| {
        lua.set_memory_limit(COMPILER_BYTES_MAX)?;
        lua.load(source).set_name("=script").set_mode(mlua::chunk::ChunkMode::Text).into_function().map(drop)
    });
    match compiled {
        Ok(()) => Syntax::Good,
        Err(error) => located(&error.to_string()),
    }
}

/// Takes `script:3: '=' expected near 'x'` apart.
fn located(message: &str) -> Syntax {
    let place = message.find("script:").map(|at| &message[at + "script:".len()..]);
    let parts = place.and_then(|rest| rest.split_once(": "));
    match parts.and_then(|(line, rest)| Some((line.parse().ok()?, rest))) {
        Some((line, rest)) => Syntax::Error { line, message: first_line(rest) },
        None => Syntax::Error { line: 1, message: first_line(message) },
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_names_line_and_cause() {
        let cases = [
            ("print(1)\nlocal x = = 2", 2, "unexpected symbol near '='"),
            ("for i = 1, 3 do\nprint(i)\n", 3, "'end' expected"),
            ("goto = 1 x", 1, "near"),
            ("\x1bLua", 1, ""),
            (&"(".repeat(60_000), 1, "too many syntax levels"),
        ];
        for (source, expected_line, expected) in cases {
            match check(Language::Lua, source) {
                Syntax::Error { line, message } => {
                    assert_eq!(line, expected_line, "{source:.30}: {message}");
                    assert!(message.contains(expected), "{source:.30}: {message}");
                }
                Syntax::Good => panic!("{source:.30} was taken for Lua"),
            }
        }
        assert_eq!(check(Language::Lua, "local t = tmr.create()\nprint(t)"), Syntax::Good);
    }

    #[test]
    fn python_is_what_micropython_takes_for_it() {
        let cases = [
            ("import os\nx = = 2\n", 2, "Expected an expression"),
            ("def f():\npass\n", 2, "indented block"),
            ("if 1:\n\tx = 1\n        y = 2\n", 3, "ndentation"),
            ("x = 1\nmatch x:\n  case 1:\n    pass\n", 2, "Cannot use `match` statement in MicroPython"),
            ("print('a", 1, "missing closing quote"),
            (&"(".repeat(60_000), 1, "unexpected EOF"),
            ("local x = 1", 1, ""),
        ];
        for (source, expected_line, expected) in cases {
            match check(Language::Python, source) {
                Syntax::Error { line, message } => {
                    assert_eq!(line, expected_line, "{source:.30}: {message}");
                    assert!(message.contains(expected), "{source:.30}: {message}");
                }
                Syntax::Good => panic!("{source:.30} was taken for Python"),
            }
        }
        let good =
            "import motehub\n\n\nasync def main():\n    if (n := 3) > 2:\n        print(f'{n} is more')\n";
        assert_eq!(check(Language::Python, good), Syntax::Good);
        assert_eq!(check(Language::Python, &format!("{}1", "-".repeat(60_000))), Syntax::Good);
    }
}
