//! PostgreSQL. A test process has one server that its tests share, each with a database of its own; a test of faults has
//! a server alone.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

/// Where Debian has the programs, one folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Of the superuser, who comes in without a password.
const USER: &str = "motehub";
/// Tries to get a port that is still free when the server takes it.
const TRIES: usize = 5;
/// Waits until its standard input ends, as it does when the test process is gone, and stops the server then.
const WATCH: &str = r#"trap '' INT TERM HUP
read -r _
read -r pid <"$1/data/postmaster.pid" && kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.05; done
rm -rf "$1""#;

/// A server of its own. It is stopped when this is dropped.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    watcher: Mutex<Child>,
}

static SHARED: LazyLock<Postgres> = LazyLock::new(|| {
    // Durability is not what these tests are about.
    Postgres::begin(&["fsync = off", "full_page_writes = off", "max_connections = 500"])
});
static DATABASES: AtomicUsize = AtomicUsize::new(1);

impl Postgres {
    /// The URL of a fresh database of the server that this process shares.
    pub fn database() -> String {
        SHARED.new_database()
    }

    /// A server for one test, which can be stopped, killed and started again. It syncs as it does by itself.
    pub fn alone() -> Self {
        Self::begin(&[])
    }

    /// The same with further lines in its settings.
    pub fn alone_with(settings: &[&str]) -> Self {
        Self::begin(settings)
    }

    fn begin(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("motehub-postgres-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        if let Some(user) = other_user() {
            std::os::unix::fs::chown(&folder, Some(user.0), Some(user.1)).expect("give the folder away");
        }
        let mut postgres = Self { folder, port: 0, watcher: Mutex::new(watcher) };
        postgres.must(
            "initdb",
            &["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username", USER],
        );
        let data = postgres.data();
        let mut lines = fs::read_to_string(data.join("postgresql.conf")).expect("its settings");
        lines.push_str("listen_addresses = '127.0.0.1'\nshared_buffers = 32MB\nmax_connections = 500\nlog_min_messages = fatal\n");
        lines.push_str(&format!("unix_socket_directories = '{}'\n", postgres.folder.display()));
        lines.push_str(&settings.join("\n"));
        fs::write(data.join("postgresql.conf"), lines).expect("its settings");
        // This user alone needs a password.
        let rules = "local all all trust\nhost all locked all scram-sha-256\nhost all all all trust\n";
        fs::write(data.join("pg_hba.conf"), rules).expect("its rules");
        for _ in 0..TRIES {
            postgres.port =
                TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
            if postgres.try_start() {
                return postgres;
            }
        }
        panic!("PostgreSQL does not start: {:?}", fs::read_to_string(postgres.log()));
    }

    /// The URL of a fresh database.
    pub fn new_database(&self) -> String {
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("create database {name}"));
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process; 0 if it does not run.
    pub fn pid(&self) -> u32 {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        file.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0)
    }

    /// What statements give, a line for each row, as the superuser. `database` is a name or a URL of a database of this
    /// server.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let name = database.rsplit('/').next().unwrap_or(database);
        let port = self.port.to_string();
        let host = self.folder.to_string_lossy();
        let args = ["-h", &host, "-p", &port, "-U", USER, "-d", name, "-XAtqc", sql];
        let output = self.run("psql", &args);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// All that a database of the shared server holds, as text.
    pub fn dump(url: &str) -> Vec<u8> {
        let port = SHARED.port.to_string();
        let host = SHARED.folder.to_string_lossy();
        let name = url.rsplit('/').next().unwrap_or(url);
        SHARED.run("pg_dump", &["-h", &host, "-p", &port, "-U", USER, "--inserts", name]).stdout
    }

    /// Statements for a database of the shared server.
    pub fn shared_psql(url: &str, sql: &str) -> String {
        SHARED.psql(url, sql)
    }

    /// Ends it in good order; who is connected is cut off.
    pub fn stop(&self) {
        self.must("pg_ctl", &["stop", "-m", "fast", "-w", "-s"]);
    }

    /// Ends all its processes by SIGKILL, as a machine that dies.
    pub fn kill(&self) {
        self.signal("KILL");
        // Who was killed may be kept in the list of processes, and would count as one that runs.
        drop(fs::remove_file(self.data().join("postmaster.pid")));
        drop(fs::remove_file(self.folder.join(format!(".s.PGSQL.{}.lock", self.port))));
    }

    /// Has it do nothing, as a machine that is cut off, until [`Postgres::thaw`].
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Sends a signal to all its processes, the first one first.
    fn signal(&self, signal: &str) {
        let first = self.pid();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        for pid in std::iter::once(first.to_string().as_str()).chain(children.split_whitespace()) {
            // A child may have ended meanwhile.
            drop(Command::new("kill").args([&format!("-{signal}"), pid]).stderr(Stdio::null()).status());
        }
    }

    /// Starts it again on its port.
    pub fn start(&self) {
        // What was killed may not be quite gone.
        let started = (0..TRIES).any(|_| self.try_start());
        assert!(started, "PostgreSQL does not start: {:?}", fs::read_to_string(self.log()));
    }

    /// Puts a file into its data folder, which it alone can read, and has it read its settings again.
    pub fn put(&self, name: &str, text: &str) {
        let file = self.data().join(name);
        fs::write(&file, text).expect("its file");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its file");
        if let Some((uid, gid)) = other_user() {
            std::os::unix::fs::chown(&file, Some(uid), Some(gid)).expect("give the file away");
        }
        self.must("pg_ctl", &["reload", "-s"]);
    }

    fn try_start(&self) -> bool {
        let (log, port) = (self.log().to_string_lossy().into_owned(), format!("-p {}", self.port));
        self.run("pg_ctl", &["start", "-w", "-s", "-t", "60", "-l", &log, "-o", &port]).status.success()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn must(&self, program: &str, args: &[&str]) {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs one of its programs, as somebody else if we are root: PostgreSQL refuses to be root.
    fn run(&self, program: &str, args: &[&str]) -> Output {
        let program = programs().join(program);
        let mut command = match other_user() {
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={gid}"))
                    .arg("--clear-groups")
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(args)
            .env("PGDATA", self.data())
            .env("LC_ALL", "C")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        // The server that pg_ctl starts goes on having these: nobody could wait for their end.
        if args.contains(&"start") {
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("pg_ctl");
            return Output { status, stdout: Vec::new(), stderr: Vec::new() };
        }
        command.output().expect("a program of PostgreSQL: install Debian's package postgresql")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut().expect("nobody panics while holding it");
        drop(watcher.stdin.take());
        // It ends as soon as the server has ended.
        drop(watcher.wait());
    }
}

/// The folder of the newest version's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir(VERSIONS).expect("Debian's package postgresql");
    let newest =
        versions.flatten().max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    newest.expect("Debian's package postgresql").path().join("bin")
}

/// Who the server runs as if we are root: the user and the group of Debian's package, or else nobody.
fn other_user() -> Option<(u32, u32)> {
    let own = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("the folder /proc"));
    if own != 0 {
        return None;
    }
    let users = fs::read_to_string(Path::new("/etc/passwd")).expect("the users");
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .or(users.lines().find(|it| it.starts_with("nobody:")));
    let mut fields = line?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
