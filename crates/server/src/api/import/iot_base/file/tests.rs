//! Dumps with and without the names of columns, CSV tables, and what is none of them.

use super::*;

/// As `mysqldump` writes it, with what else is in a database of Laravel.
const DUMP: &str = r"-- MariaDB dump 10.19
/*!40101 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `users`;
CREATE TABLE `users` (`id` bigint(20) unsigned NOT NULL, `name` varchar(255) DEFAULT 'a;b''c', PRIMARY KEY (`id`));
INSERT INTO `users` VALUES (1,'O\'Hara; INSERT INTO `units`',0x00ff,_binary 'x');
CREATE TABLE `units` (
  `value` varchar(255) COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT ',(',
  `ip` varchar(255) NOT NULL,
  `factor` decimal(8,2) DEFAULT NULL,
  `updated_at` timestamp NULL DEFAULT NULL,
  PRIMARY KEY (`ip`),
  KEY `units_value` (`value`,`ip`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
LOCK TABLES `units` WRITE;
INSERT INTO `units` VALUES ('512','192.168.2.35',1.50,'2020-01-31 18:30:00'),
  ('it''s \'so\'\\','192.168.2.36',-1e-3,NULL);
UNLOCK TABLES;
";

fn file(text: &str) -> File {
    read(text.as_bytes(), 0).unwrap_or_else(|rejection| panic!("{rejection}"))
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes, 0).map(|file| format!("{file:?}")).expect_err("because it is wrong").sentence
}

fn last(file: &File) -> Vec<(String, Option<i64>, PointValue)> {
    let units = file.units.iter().map(|entry| entry.read.as_ref().unwrap());
    units
        .map(|unit| {
            let (at, value) = unit.last.clone().unwrap();
            (unit.address.to_string(), at.map(|at| at.0), value)
        })
        .collect()
}

#[test]
fn rows_without_names_are_in_the_order_in_which_the_table_was_created() {
    assert_eq!(
        last(&file(DUMP)),
        [
            ("192.168.2.35:8888".to_owned(), Some(1_580_495_400_000), PointValue::Number(512.0)),
            ("192.168.2.36:8888".to_owned(), None, PointValue::Text(r"it's 'so'\".to_owned())),
        ]
    );
}

#[test]
fn named_columns_stand_in_any_order_and_times_have_the_offset_that_is_said() {
    let named = "INSERT IGNORE INTO iot.units (`updated_at`, ip, `value`) VALUES ('2020-01-31 18:30:00', '10.0.0.7', 3);";
    let read = read(named.as_bytes(), 60).unwrap();
    assert_eq!(last(&read), [("10.0.0.7:8888".to_owned(), Some(1_580_491_800_000), PointValue::Number(3.0))]);
}

#[test]
fn tables_of_csv_are_known_by_their_columns() {
    let file = file(
        "id;uuid;name;type;active;created_at\n1;abc-1;\"Hall; left\";readable;1;NULL\n2;abc-2;Lamp;updatable;0;\\N\n\n\
         order;device_id;id\n2;1;1\n1;2;2\n\nid;device_id;value;created_at\n1;1;id;2020-01-31 18:30:00\n",
    );
    let devices: Vec<_> = file.devices.iter().map(|entry| entry.read.as_ref().unwrap()).collect();
    assert_eq!(
        (devices[0].name.as_str(), devices[0].is_updatable, devices[0].is_active),
        ("Hall; left", false, true)
    );
    assert_eq!(
        (devices[1].uuid.as_str(), devices[1].is_updatable, devices[1].is_active),
        ("abc-2", true, false)
    );
    let orders: Vec<_> = file.blocks.iter().map(|entry| entry.read.as_ref().unwrap().order).collect();
    assert_eq!(orders, [2, 1]);
    let state = file.states[0].read.as_ref().unwrap();
    assert_eq!((state.device.as_str(), &state.value), ("1", &PointValue::Text("id".to_owned())));
}

#[test]
fn what_is_wrong_with_a_row_is_told_with_its_line() {
    let file = file(
        "id,ip,value,updated_at\n1,lamp,1,\n2,10.0.0.1,1,soon\n3,NULL,1,\n\nid,uuid,name,type\n1,a,b,thing\n\n\
         id,device_id,value,created_at\n1,1,2,0000-00-00 00:00:00\n\nid,device_id,order\n1,1,first\n",
    );
    let told = |entry: Option<String>| entry.unwrap();
    let units: Vec<_> = file.units.iter().map(|entry| told(entry.read.as_ref().err().cloned())).collect();
    assert_eq!(
        units,
        [
            "line 2: ip is \"lamp\": an address such as 192.168.1.20 is expected",
            "line 3: updated_at is \"soon\": a time such as 2020-01-31 18:30:00 is expected",
            "line 4: ip is missing",
        ]
    );
    assert_eq!(
        file.devices[0].read.as_ref().err().unwrap(),
        "line 7: type is \"thing\": there are readable and updatable"
    );
    assert_eq!(file.states[0].read.as_ref().err().unwrap(), "line 10: created_at is missing");
    assert_eq!(
        file.blocks[0].read.as_ref().err().unwrap(),
        "line 13: order is \"first\": a whole number is expected"
    );
}

#[test]
fn files_that_are_no_such_files_are_refused() {
    for (text, why) in [
        ("", "it has no rows of units or devices"),
        ("{\"users\":{}}", "line 1: this is no dump with INSERT INTO, and no CSV"),
        (
            "id,name,email\n1,a,b\n",
            "line 1: units, devices, device_states and dashboard_blocks have other columns",
        ),
        ("id,ip,value\n1,10.0.0.1\n", "line 2: a row of units has 2 values for 3 columns"),
        ("INSERT INTO `users` VALUES (1);", "it has no rows of units or devices"),
        ("\nINSERT INTO `units` VALUES (1,'10.0.0.1');", "line 2: units without the names of the columns"),
        (
            "INSERT INTO units (ip, value) VALUES\n('10.0.0.1');",
            "line 2: a row of units has 1 values for 2 columns",
        ),
        ("INSERT INTO units (ip, value)\nVALUES ('10.0.0.1", "line 2: a text begins here and does not end"),
        ("INSERT INTO units (ip, value) VALUES ('10.0.0.1', now());", "line 1: a value is a text in quotes"),
        ("INSERT INTO units (ip, value) VALUES ('10.0.0.1' 2);", "line 1: ')' is expected"),
        ("INSERT INTO units (id, ip) VALUES (1, '10.0.0.1');", "line 1: units has no column value"),
        ("INSERT INTO units SELECT 1;", "line 1: units without the names"),
        ("/* INSERT INTO units", "line 1: a comment begins here and does not end"),
        ("CREATE TABLE `units` (`id` int", "line 1: the table ends before its last column does"),
    ] {
        assert!(refusal(text.as_bytes()).contains(why), "{text}: {}", refusal(text.as_bytes()));
    }
    let latin = b"INSERT INTO units (ip, value) VALUES ('10.0.0.1', '\xe9');";
    assert!(refusal(latin).contains("line 1: a text is no UTF-8: dump it as utf8mb4"), "{}", refusal(latin));
    assert!(read(DUMP.as_bytes(), i32::MAX).expect_err("because").sentence.contains("offset_minutes"));
}

#[test]
fn ten_megabytes_of_anything_end_in_a_sentence() {
    let mut state = 1_u32;
    let mut noise: Vec<u8> = (0..10 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    assert!(!refusal(&noise).is_empty());
    noise.splice(0..0, *b"INSERT INTO units (ip, value) VALUES ");
    assert!(!refusal(&noise).is_empty());
    let brackets = ["INSERT INTO units (", &"(".repeat(10 << 20)].concat();
    assert!(refusal(brackets.as_bytes()).contains("line 1"));
    let long = format!("INSERT INTO units (ip, value) VALUES ('10.0.0.1', '{}');", "x".repeat(10 << 20));
    assert!(refusal(long.as_bytes()).contains("more than 65536 bytes"));
}
