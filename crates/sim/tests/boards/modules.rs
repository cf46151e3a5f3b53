//! What the Lua modules do: each case is a board with its own `init.lua`; all boards live in one fleet.

use std::collections::BTreeMap;
use std::fmt::Write;

use motehub_sim::nodemcu::{BoardConfig, Fact};
use tokio::time::{Instant, timeout_at};

use crate::hub::{DEADLINE, Hub, Watched};

/// Name, script, and what it prints until it prints `end` or panics (`panic: ` and a part of the error).
const CASES: &[(&str, &str, &str)] = &[
    ("print", "print('a', 1, 1.5, nil, true) print()", "a\t1\t1.5\tnil\ttrue|"),
    ("numbers are floats without a point", "print(10801015, 2^31, 7 / 2, 0x10)", "10801015\t2147483648\t3.5\t16"),
    ("no io, no os", "print(io, os, package.path, type(require))", "nil\tnil\tnil\tfunction"),
    ("missing file", "dofile('nothing.lua')", "panic: cannot open nothing.lua"),
    ("dofile", "file.putcontents('a.lua', 'return ..., 7') print(dofile('a.lua'))", "nil\t7"),
    ("loadfile", "file.putcontents('a.lua', 'x = =') print((loadfile('a.lua')), (loadfile('b.lua')))", "nil\tnil"),
    (
        "require",
        "file.putcontents('lib.lua', 'n = (n or 0) + 1 return { name = ... }')
         print(require('lib').name, require('lib') == package.loaded.lib, n)",
        "lib\ttrue\t1",
    ),
    (
        "compile",
        "file.putcontents('p.lua', 'return 40 + ...') node.compile('p.lua')
         print(file.getcontents('p.lc'):byte(1), loadfile('p.lc')(2), file.exists('p.lua'))",
        "27\t42\ttrue",
    ),
    (
        "errors of modules are texts",
        "local ok, e = pcall(file.read) print(ok, type(e), e .. '!')
         print(xpcall(file.read, function(e) return 'handled ' .. e end))
         print(coroutine.resume(coroutine.create(function() file.read() end))) print(pcall(error, { 1 }) , select('#', pcall(function() return 1, nil end)))",
        "false\tstring\topen a file first!|false\thandled open a file first|false\topen a file first|false\t3",
    ),
    ("compile wants lua", "node.compile('p.txt')", "panic: not a .lua file"),
    (
        "broken bytecode",
        "file.putcontents('p.lc', '\\27Lua garbage') print((loadfile('p.lc')))",
        "nil",
    ),
    ("node", "print(node.chipid() == CHIP, node.heap() > 1000, node.bootreason())", "true\ttrue\t1\t0"),
    (
        "restart does not return",
        "if file.exists('r') then print(node.bootreason()) else
           file.putcontents('r', '') pcall(node.restart) print('still here') while true do end end",
        "still here|2\t4",
    ),
    (
        "dsleep",
        "if file.exists('r') then print(node.bootreason()) else file.putcontents('r', '') node.dsleep(1000) end",
        "2\t5",
    ),
    (
        "tasks",
        "node.task.post(function() print('later') print('end') end) print('now') do return end",
        "now|later",
    ),
    (
        "task overflow",
        "print((pcall(function() for i = 1, 100 do node.task.post(function() end) end end)))",
        "false",
    ),
    ("memory", "local t = {} for i = 1, 1e6 do t[i] = i .. 'x' end", "panic: not enough memory"),
    (
        "garbage is no problem",
        "local s = '' for i = 1, 20000 do s = ('x'):rep(2000) .. i end print(#s)",
        "2005",
    ),
    (
        "file basic model",
        "print(file.open('none')) file.open('f', 'w+') file.write('one\\n') file.writeline('two') file.write('three')
         file.close() file.open('f') print(file.readline(), file.read(2), file.read('o'), file.read(), file.read())",
        "nil|one\n\ttw\to\t\nthree\tnil",
    ),
    (
        "file seek",
        "local f = file.open('f', 'w+') f:write('0123456789') print(f:seek('set', 3), f:read(2), f:seek('end', -1), f:read(), f:seek())
         f:close()",
        "3\t34\t9\t9\t10",
    ),
    ("read without a file", "file.read()", "panic: open a file first"),
    (
        "1024 bytes per read",
        "file.putcontents('f', ('x'):rep(1500)) file.open('f') print(#file.read(), #file.read())",
        "1024\t476",
    ),
    (
        "file names",
        "file.putcontents('a', 'x') print(file.rename('a', 'b/../c'), file.exists('a'), file.stat('b/../c').size)
         for name, size in pairs(file.list('^b')) do print(name, size) end print(file.rename('none', 'x'), file.stat('none'))
         file.remove('none')",
        "true\tfalse\t1|b/../c\t1|false\tnil",
    ),
    (
        "flash is full",
        "local left, used, total = file.fsinfo() print(left + used == total)
         print(file.putcontents('f', 'x'), file.putcontents(('n'):rep(40), 'x'))",
        "true|true\tnil",
    ),
    (
        "timer modes",
        "local t = tmr.create() print(t:state(), t:start()) t:register(1, tmr.ALARM_SINGLE, function(x)
           print(x == t, t:state()) local n = 0
           t:alarm(1, tmr.ALARM_AUTO, function() n = n + 1 if n == 3 then t:unregister() print(n)
             t:alarm(1, tmr.ALARM_SEMI, function() print(t:state()) print('end') end) end end)
         end) print(t:start(), t:start()) do return end",
        "nil\tfalse|true\tfalse|true\tnil\tnil|3|false\t2",
    ),
    ("timer interval", "tmr.create():register(0, 0, function() end)", "panic: interval is out of range"),
    (
        "a stopped timer does not fire",
        "local t = tmr.create() t:alarm(5, 1, function() print('wrong') end) print(t:stop(), t:stop())
         tmr.create():alarm(50, 0, function() print('end') end) do return end",
        "true\tfalse",
    ),
    ("error in a timer", "tmr.create():alarm(1, 0, function() error('late') end) do return end", "panic: late"),
    (
        "delay moves the clock",
        "local before = tmr.now() tmr.delay(50000) print(tmr.now() - before >= 50000, tmr.time())",
        "true\t0",
    ),
    (
        "gpio",
        "gpio.mode(4, gpio.OUTPUT) gpio.write(4, gpio.HIGH) print(gpio.read(4)) gpio.write(4, gpio.LOW) print(gpio.read(4))
         gpio.mode(1, gpio.INPUT) print(gpio.read(1), pcall(gpio.read, 13))",
        "1|0|1\tfalse\tno pin 13",
    ),
    (
        "trigger",
        "gpio.trig(1, 'high', function(level) print(level) gpio.trig(1) print('end') end) do return end",
        "1",
    ),
    ("adc and dht", "print(adc.read(0), dht.read(2))", "321\t0\t20.5\t50\t0\t0"),
    (
        "wifi",
        "print(wifi.sta.getip(), wifi.sta.status()) wifi.setmode(wifi.STATION) wifi.sta.config{ ssid = 'lab', pwd = 'secret', save = true }
         print(wifi.sta.getconfig()) print(wifi.sta.status() == wifi.STA_CONNECTING)
         local t = tmr.create() t:alarm(5, 1, function() if wifi.sta.getip() then print(wifi.sta.status()) t:stop() print('end') end end)
         do return end",
        "nil\t0|lab\tsecret\t0\tff:ff:ff:ff:ff:ff|true|5",
    ),
    (
        "time",
        "print(rtctime.get()) rtctime.set(1436430589, 0) print((rtctime.get()))
         sntp.sync('pool.ntp.org', function(s) print(s > 1.7e9, rtctime.get() >= s) print('end') end)
         local t = rtctime.epoch2cal(1436430589) print(t.year, t.mon, t.day, t.hour, t.min, t.sec, t.wday, t.yday) do return end",
        "0\t0\t0|1436430589|2015\t7\t9\t8\t29\t49\t5\t190|true\ttrue",
    ),
    ("uart", "uart.setup(0, 115200, 8, uart.PARITY_NONE, uart.STOPBITS_1, 1) uart.write(0, 'a', 'b\\r\\nc\\n')", "ab|c"),
    (
        "sjson encodes",
        "print(sjson.encode({ 1, 'a\"\\n', true, sjson.NULL, {} }), sjson.encode({ t = 21.5 }), sjson.encode('ä'))",
        r#"[1,"a\"\n",true,null,[]]	{"t":21.5}	"ä""#,
    ),
    ("sjson does not encode functions", "sjson.encode({ print })", "panic: cannot encode a function"),
    (
        "sjson decodes",
        "local t = sjson.decode('{\"a\":[1,2.5,null,{\"b\":\"x\"}]}') print(t.a[1], t.a[2], t.a[3] == sjson.NULL, t.a[4].b)
         print((pcall(sjson.decode, '{')), (pcall(sjson.decode, ('['):rep(50) .. (']'):rep(50))))",
        "1\t2.5\ttrue\tx|false\tfalse",
    ),
    (
        "crypto",
        "file.putcontents('f', 'abc') local h = crypto.new_hash('sha256') h:update('a') h:update('bc')
         local d = crypto.toHex(crypto.fhash('SHA256', 'f')) print(d:sub(1, 8), d == crypto.toHex(h:finalize()), #crypto.hash('sha512', ''))
         print((pcall(crypto.hash, 'rot13', 'x')), (pcall(crypto.fhash, 'sha256', 'none')))",
        "ba7816bf\ttrue\t64|false\tfalse",
    ),
    (
        "an error handler sees an error and may go on",
        "node.setonerror(function(e) print(e:match('[^\\n]+')) print('end') end) tmr.create():alarm(1, 0, function() error('late', 0) end)
         do return end",
        "late",
    ),
    (
        "sjson refuses endless tables",
        "local t = {} t.t = t sjson.encode(t)",
        "panic: nesting is too deep",
    ),
    (
        "http",
        "http.get('http://@http/uploads/1/boot.lua', nil, function(code, body, headers)
           print(code, body, headers['content-length'])
           http.post('http://@http/x', 'X-A: b\\r\\n', 'data', function(code) print(code) print('end') end)
         end) do return end",
        "200\tthe program\t11|200",
    ),
    (
        "a second request takes the callback over",
        "http.get('http://@http/', nil, function() print('first') end)
         http.get('http://@http/', nil, function() print('second') tmr.create():alarm(100, 0, function() print('end') end) end) do return end",
        "second",
    ),
    (
        "http without an answer",
        "http.get('https://@http/', nil, function() print('wrong') end)
         http.get('http://127.0.0.1:1/', nil, function(code, body) print(code, body) print('end') end) do return end",
        "URL is not usable|-1\tnil",
    ),
    (
        "mqtt",
        "m = mqtt.Client('c' .. node.chipid(), 120, 'u', 'p') print(pcall(m.publish, m, 't', 'x', 0, 0))
         m:lwt('gone', 'yes', 1, 0)
         m:connect('127.0.0.1', '@mqtt', false, function(c)
           print(c == m)
           m:subscribe({ a = 0, b = 1 }, function() print('subscribed')
             m:publish('t', 21.5, 1, 0, function() print('acknowledged')
               m:unsubscribe('a', function() print('unsubscribed') print(m:close()) print('end') end)
             end)
           end)
         end) do return end",
        "false\tnot connected|true|subscribed|acknowledged|unsubscribed|true",
    ),
    (
        "mqtt is refused",
        "m = mqtt.Client('c', 120) m:connect('127.0.0.1', 1, false, nil, function(c, why) print(why == mqtt.CONN_FAIL_SERVER_NOT_FOUND) print('end') end)
         do return end",
        "true",
    ),
    ("mqtt port", "mqtt.Client('c', 120):connect('127.0.0.1', '')", "panic: the port is not a number"),
    (
        "net",
        "s = net.createConnection(net.TCP, 0)
         s:on('connection', function(s) print('up', s:getpeer()) s:send('GET / HTTP/1.0\\r\\n\\r\\n', function() print('sent') end) end)
         s:on('receive', function(s, data) print(data:sub(1, 15)) end)
         s:on('disconnection', function(s, code) print('down', code) print('end') end)
         s:connect(@web, '127.0.0.1') do return end",
        "up\t@web\t127.0.0.1|sent|HTTP/1.1 200 OK|down\t0",
    ),
    ("net has no servers", "net.createServer(net.TCP)", "panic: no servers"),
];

#[tokio::test]
async fn modules_behave_as_on_the_board() {
    let hub = Hub::start().await;
    hub.state.lock().unwrap().program = "the program".into();
    let flash = tempfile::tempdir().unwrap();
    let mut config = hub.config();
    config.flash = Some(flash.path().to_owned());
    config.sensors = ["adc=const:321", "temperature=const:20.5", "humidity=const:50", "gpio=const:1"]
        .map(Into::into)
        .into();
    config.boards.clear();
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let fill = |text: &str| {
        text.replace("@http", &hub.http).replace("@mqtt", &port(&hub.mqtt)).replace("@web", &port(&hub.http))
    };
    for (index, (_, script, _)) in CASES.iter().enumerate() {
        let chip_id = index as u32 + 1;
        config.boards.push(BoardConfig { chip_id, credential: None, device: None });
        let folder = flash.path().join(chip_id.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let script = fill(&script.replace("CHIP", &chip_id.to_string()));
        std::fs::write(folder.join("init.lua"), format!("{script}\nprint('end')")).unwrap();
    }
    let mut boards = Watched::start(&config);
    let mut outputs: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut finished = std::collections::BTreeSet::new();
    let by = Instant::now() + DEADLINE;
    while finished.len() < CASES.len() {
        let Ok(Some(fact)) = timeout_at(by, boards.fleet.next_fact()).await else { break };
        match fact {
            Fact::Print { board, text } if text == "end" => drop(finished.insert(board)),
            Fact::Panic { board, error } if !finished.contains(&board) => {
                outputs.entry(board.parse().unwrap()).or_default().push(format!("panic: {error}"));
                finished.insert(board);
            }
            Fact::Print { board, text } if !finished.contains(&board) => {
                outputs.entry(board.parse().unwrap()).or_default().push(text);
            }
            _ => {}
        }
    }
    boards.fleet.stop().await;
    let mut wrong = String::new();
    for (index, (name, _, expected)) in CASES.iter().enumerate() {
        let (expected, output) = (fill(expected), outputs.remove(&(index + 1)).unwrap_or_default().join("|"));
        let fits = match expected.strip_prefix("panic: ") {
            Some(part) => output.starts_with("panic: ") && output.contains(part),
            None => output == expected,
        };
        if !fits {
            writeln!(wrong, "{name}\n  expected {expected:?}\n  but got  {output:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
