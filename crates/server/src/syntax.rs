//! Whether a script compiles: asked of the language's own compiler, with the line it complains about (ADR 0007).
//! Nothing is run here.

use motehub_domain::script::{Language, Syntax};

/// Memory that the compiler may take.
const COMPILER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Compiles a source text and throws the result away.
pub(crate) fn check(language: Language, source: &str) -> Syntax {
    match language {
        Language::Lua => check_lua(source),
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
}
