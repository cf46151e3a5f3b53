//! The guide: the commands of every page run as written, against a fresh hub, in a clean folder of a machine of their
//! own (a network, folders and processes that nothing else sees). A page joins by being there; a command that fails,
//! or an HTTP error, fails its page. `GUIDE=commands` runs only the pages with that in their name.
//!
//! What a shell cannot know stands in comments before a block, which readers of a page do not see:
//! - `<!-- given: COMMANDS -->` makes what the reader has by then.
//! - `<!-- file: NAME -->` the block, in any language, is a file.
//! - `<!-- with WORD: COMMAND -->` the word stands for what the command prints; `last.log` is what the block before
//!   printed.
//! - `<!-- goes on until: COMMAND -->` the block goes on beside the rest of the page, which waits until COMMAND succeeds.
//! - `<!-- not run: REASON -->` the block needs something that is not here, such as a board on USB.
//! - `<!-- own hub -->` at the top: the page starts its hub itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use end_to_end::binary;

/// How long a page may take, in seconds.
const PAGE_MAX: &str = "300";
/// So many pages run at a time.
const AT_ONCE: usize = 2;

/// What stands before the first block: folders that are this page's alone.
const MACHINE: &str = r#"
set -eEu -o pipefail
mount -t tmpfs guide /mnt && mount -t tmpfs guide /var/lib && ip link set lo up
echo fail > ~/.curlrc
at='the start' && trap 'echo "FAILED at $at" >&2' ERR
wait_for() {
  for _ in $(seq 600); do
    if eval "$1" > waiting.log 2>&1; then return 0; fi
    sleep 0.1
  done
  cat waiting.log; tail -n 20 goes-on-*.log; echo "waited in vain: $1"; return 1
}
"#;

/// The hub that a reader has started, and the token of its administrator.
const HUB: &str = r#"
motehub serve --data /var/lib/motehub > goes-on-hub.log 2>&1 &
wait_for 'curl -s http://127.0.0.1:8080/api/v1/setup'
export MOTEHUB_HUB=http://127.0.0.1:8080
MOTEHUB_TOKEN=$(motehub token add guide --role admin --data /var/lib/motehub) && export MOTEHUB_TOKEN
"#;

/// What a page tells the shell.
#[derive(Debug)]
enum Part {
    Comment(String),
    Block { line: usize, language: String, text: String },
}

/// The comments and the blocks of a page, in order.
fn parts(page: &str) -> Vec<Part> {
    let (mut parts, mut lines) = (Vec::new(), page.lines().enumerate());
    while let Some((at, line)) = lines.next() {
        let mut until = |end: &str| {
            let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != end);
            body.collect::<Vec<_>>().join("\n")
        };
        if let Some(language) = line.strip_prefix("```") {
            parts.push(Part::Block { line: at + 1, language: language.to_owned(), text: until("```") });
        } else if let Some(comment) = line.strip_prefix("<!-- ") {
            parts.push(Part::Comment(match comment.strip_suffix(" -->") {
                Some(comment) => comment.to_owned(),
                None => format!("{comment}\n{}", until("-->")),
            }));
        }
    }
    parts
}

/// A page as a script.
fn script(page: &str) -> String {
    let parts = parts(page);
    let has_own_hub = parts.iter().any(|part| matches!(part, Part::Comment(comment) if comment == "own hub"));
    let mut script = [MACHINE, if has_own_hub { "" } else { HUB }].concat();
    let mut say = |text: &str| writeln!(script, "{text}").expect("it is text");
    let (mut words, mut file, mut until, mut is_left_out) = (String::new(), None, None, false);
    for part in parts {
        match part {
            Part::Comment(comment) => {
                let (what, rest) = comment.split_once(':').unwrap_or((&comment, ""));
                let rest = rest.trim();
                match what {
                    "given" => say(rest),
                    "file" => file = Some(rest.to_owned()),
                    "goes on until" => until = Some(rest.to_owned()),
                    "not run" => is_left_out = !rest.is_empty(),
                    "own hub" => {}
                    with => {
                        let word = with.strip_prefix("with ").unwrap_or_else(|| panic!("<!-- {comment} -->"));
                        words +=
                            &format!("word={} block=${{block//\"$word\"/\"$({rest})\"}}\n", quoted(word));
                    }
                }
            }
            Part::Block { text, .. } if let Some(file) = file.take() => {
                say(&format!("cat > {file} {}", here(&text)));
            }
            Part::Block { language, .. } if language != "sh" || std::mem::take(&mut is_left_out) => {}
            Part::Block { line, text, .. } => {
                say(&format!("at='line {line}'\nblock=$(cat {}\n)\n{words}", here(&text)));
                words.clear();
                say(&match until.take() {
                    None => "eval \"$block\" > last.log; cat last.log".to_owned(),
                    Some(fact) => {
                        format!("( eval \"$block\" ) > goes-on-{line}.log 2>&1 &\nwait_for {}", quoted(&fact))
                    }
                });
            }
        }
    }
    script
}

fn here(text: &str) -> String {
    format!("<<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Runs a page, and says what went wrong.
fn run(page: &Path) -> Option<String> {
    let home = tempfile::tempdir().expect("a folder");
    let tools = home.path().join(".tools");
    std::fs::create_dir(&tools).expect("it is made");
    std::os::unix::fs::symlink(std::fs::canonicalize(binary()).expect("the program"), tools.join("motehub"))
        .expect("it is made");
    for (name, file) in [("micropython", "micropython/micropython"), ("nats-server", "venv/bin/nats-server")]
    {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools").join(file);
        if let Ok(program) = std::fs::canonicalize(unpacked) {
            std::os::unix::fs::symlink(program, tools.join(name)).expect("it is made");
        }
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("timeout")
        .args([PAGE_MAX, "unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "bash", "-c"])
        .arg(script(&std::fs::read_to_string(page).expect("a page")))
        .current_dir(home.path())
        .env_clear()
        .envs([("HOME", home.path().as_os_str()), ("LANG", "C.UTF-8".as_ref())])
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", tools.display()))
        .output()
        .expect("unshare of util-linux");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said =
        || format!("{}: {}\n{}{}", page.display(), done.status, text(&done.stdout), text(&done.stderr));
    (!done.status.success()).then(said)
}

#[test]
fn the_commands_of_every_page_run_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide");
    let only = std::env::var("GUIDE").unwrap_or_default();
    let mut pages: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the guide").map(|entry| entry.expect("a page").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages.retain(|page| page.file_stem().is_some_and(|name| name.to_string_lossy().contains(&only)));
    assert!(!pages.is_empty(), "there is no such page");
    let next = AtomicUsize::new(0);
    let work = || {
        let mine = std::iter::from_fn(|| pages.get(next.fetch_add(1, Ordering::SeqCst)));
        mine.filter_map(|page| run(page)).collect::<Vec<_>>()
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it ends")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
