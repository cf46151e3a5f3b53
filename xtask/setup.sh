#!/bin/sh
# Brings a machine to the point where cargo can do the rest. It is a shell script and not Rust because a bare
# Debian has no linker yet. When everything is there it says nothing and takes less than a second.
#
#   xtask/setup.sh run     what building and running the hub needs, the built dashboard included
#   xtask/setup.sh test    that, and what the tests need: a browser, MQTT clients, Python packages, MicroPython, Node-RED
#   xtask/setup.sh bench   what running the hub needs, PostgreSQL, NATS, and Debian's mosquitto, unpacked but not installed
set -eu
cd "$(dirname "$0")/.."

# A C compiler and linker: ring, SQLite and Lua are C and are compiled with the hub.
run_packages="gcc libc6-dev make"
# Not Debian's mosquitto broker: installing it would start it, on the port that the hub itself uses.
test_packages="chromium curl fonts-dejavu-core git haproxy iproute2 libcoap3-bin lua5.1 mosquitto-clients nftables openssl \
python3 python3-venv strace systemd"
# The programs of the database server; each test starts its own from them, and the package starts none.
server_packages="postgresql"
# What make bench compares with: its broker and those of its libraries that a small Debian does not have.
bench_packages="mosquitto libcjson1 libdlt2 libmosquitto1 libwrap0"
# MicroPython and its libraries, from Debian 13.
micropython_packages="libc6 libffi8 libmbedcrypto16 libmbedtls21 libmbedx509-7 micropython"
rust_wanted=1.95
node_wanted=20

export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1

main() {
    case "${1:-}" in
    run) packages=$run_packages ;;
    bench) packages="$run_packages python3 python3-venv $server_packages" ;;
    test) packages="$run_packages $test_packages $server_packages" ;;
    *) stop "usage: xtask/setup.sh run|test|bench" ;;
    esac
    debian_packages
    rust
    node
    npm_packages web
    if [ "$1" = test ]; then
        npm_packages integrations/node-red
        npm_packages tests/interop/pusher
        python_packages
        virtual_micropython
    fi
    if [ "$1" = bench ]; then
        python_packages
        broker
    fi
    dashboard
}

debian_packages() {
    if ! command -v dpkg-query >/dev/null; then
        command -v cc >/dev/null || stop "this is not Debian: install what corresponds to its packages $packages"
        return
    fi
    # shellcheck disable=SC2086 # The list is split into words on purpose, here and below.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null || true)
    missing=
    for package in $packages; do
        case "
$installed
" in
        *"
installed $package
"*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        as_root="env"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo -n env"
    else
        stop "these Debian packages are missing:$missing
Install them with:  sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing"
    fi
    say "installing Debian packages:$missing"
    # Debian's PostgreSQL would start a server of its own; the tests want the programs only.
    case "$missing" in
    *postgresql*)
        # shellcheck disable=SC2016 # Written as it is.
        $as_root sh -c 'cd /etc && mkdir -p postgresql-common/createcluster.d &&
            echo "create_main_cluster = false" >postgresql-common/createcluster.d/motehub.conf'
        ;;
    esac
    # Another apt may be at work (a fresh machine updates itself): wait for it, at most five minutes.
    $as_root apt-get update -qq </dev/null
    # shellcheck disable=SC2086
    $as_root DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -qq --no-install-recommends $missing </dev/null
}

rust() {
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        stop "cargo and rustc are missing: install Rust $rust_wanted or newer (with rustup: the stable toolchain)"
    fi
    has=$(rustc --version) || stop "rustc does not start: install the stable toolchain (rustup toolchain install stable)"
    has=${has#rustc }
    has=${has%% *}
    at_least "$has" "$rust_wanted" || stop "rustc is $has; Rust $rust_wanted or newer is needed (rustup update stable)"
}

node() {
    if ! command -v npm >/dev/null; then
        stop "node and npm are missing: install Node $node_wanted or newer (it builds the dashboard)"
    fi
    has=$(command node --version) || stop "node does not start: install Node $node_wanted or newer"
    at_least "${has#v}" "$node_wanted.0" || stop "node is $has; Node $node_wanted or newer is needed"
}

# Exactly what the lock file says, when it is newer than what is installed.
npm_packages() {
    [ ! "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] || return 0
    say "installing the npm packages of $1/package-lock.json"
    npm --prefix "$1" ci --no-audit --no-fund </dev/null
}

# Exactly what tests/requirements.txt says, when it differs from what was installed last.
python_packages() {
    venv=.tools/venv
    if cmp -s tests/requirements.txt $venv/installed.txt; then return; fi
    say "installing the Python packages of tests/requirements.txt"
    # Debian's own Python first: python3-venv belongs to it.
    python=/usr/bin/python3
    [ -x $python ] || python=python3
    rm -rf $venv
    $python -m venv $venv
    $venv/bin/pip install --quiet --require-hashes --requirement tests/requirements.txt </dev/null
    cp tests/requirements.txt $venv/installed.txt
}

# Unpacked and not installed: the package would start a broker, on the port that the hub itself uses.
broker() {
    unpacked=.tools/mosquitto
    if [ -x /usr/sbin/mosquitto ] || [ -x $unpacked/usr/sbin/mosquitto ]; then return; fi
    command -v apt-get >/dev/null || stop "mosquitto is missing: install it, or name its program: bench --mosquitto FILE"
    say "unpacking Debian's mosquitto into $unpacked"
    rm -rf $unpacked
    mkdir -p $unpacked/packages
    # shellcheck disable=SC2086 # The list is split into words on purpose.
    (cd $unpacked/packages && apt-get download -qq -o APT::Sandbox::User= $bench_packages) ||
        stop "the Debian packages $bench_packages could not be fetched; try again after sudo apt-get update"
    # The broker last: it is there only when everything is.
    for package in $unpacked/packages/lib*.deb $unpacked/packages/mosquitto_*.deb; do
        dpkg -x "$package" $unpacked
    done
}

# The interpreter of virtual MicroPython boards. Debian has it from version 13 on; for an older one it is unpacked with the
# libraries of that version beside it, and nothing is installed.
virtual_micropython() {
    unpacked=.tools/micropython
    if command -v micropython >/dev/null || [ -x $unpacked/micropython ]; then return; fi
    command -v apt-get >/dev/null || stop "micropython is missing: put one into the path, for Linux, 1.20 or newer"
    say "unpacking MicroPython into $unpacked"
    rm -rf $unpacked
    mkdir -p $unpacked/lists/partial $unpacked/archives/partial $unpacked/sources.list.d
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ -f "$file" ] && sed "s/${codename:-bookworm}/trixie/g" "$file" >"$unpacked/sources.list.d/${file##*/}"
    done
    here=$PWD/$unpacked
    apt="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$here/sources.list.d -o Dir::State::Lists=$here/lists
        -o Dir::Cache=$here -o APT::Sandbox::User="
    # shellcheck disable=SC2086 # The lists are split into words on purpose.
    (cd $unpacked && apt-get $apt update -qq && apt-get $apt download -qq $micropython_packages) ||
        stop "MicroPython could not be fetched; try again, or put one into the path"
    for package in $unpacked/*.deb; do dpkg -x "$package" $unpacked/root; done
    rm -rf $unpacked/lists $unpacked/archives $unpacked/*.deb $unpacked/*.bin
    # The last, so that it is there only when everything is.
    cat >$unpacked/micropython.new <<'END'
#!/bin/sh
# Its own libraries, by their own loader.
root=$(dirname "$(readlink -f "$0")")/root
libraries=$(echo "$root"/usr/lib/*-linux-*)
exec "$libraries"/ld-linux-*.so.* --library-path "$libraries" "$root/usr/bin/micropython" "$@"
END
    chmod +x $unpacked/micropython.new
    mv $unpacked/micropython.new $unpacked/micropython
}

# Built when something in web/ is newer than the last build; cargo embeds it.
dashboard() {
    built=web/dist/index.html
    if [ -f $built ]; then
        newer=$(find web -mindepth 1 \( -name node_modules -o -name dist \) -prune -o -newer $built -print)
        [ -n "$newer" ] || return 0
    fi
    say "building the dashboard"
    npm --prefix web run --silent build </dev/null
}

# at_least 1.96.2 1.95: is the first version the second one or a later one? Compares major and minor.
at_least() {
    has_minor=${1#*.}
    want_minor=${2#*.}
    [ "${1%%.*}" -gt "${2%%.*}" ] || { [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${has_minor%%.*}" -ge "$want_minor" ]; }
}

say() { echo "setup: $1"; }

stop() {
    echo "setup: $1" >&2
    exit 1
}

main "$@"
