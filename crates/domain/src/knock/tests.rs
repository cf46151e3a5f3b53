//! The bounds of the inbox, and what a decision does.

use super::*;

const START: Time = Time(1_000_000);

fn id(n: usize) -> KnockId {
    KnockId::from_parts(1, n as u128)
}

fn said(name: &str, address: &str) -> Said {
    Said::new(name, None, Via::Mqtt, address.to_owned(), false).expect("has a name")
}

fn ada() -> Actor {
    Actor::User("ada".to_owned())
}

/// Minutes pass, so that the rate per address is not what is measured.
fn filled(names: usize, address_of: impl Fn(usize) -> String) -> Inbox {
    let mut inbox = Inbox::default();
    for n in 0..names {
        let now = START + Span::minutes(n as i64);
        assert_eq!(inbox.heard(id(n), said(&format!("board-{n}"), &address_of(n)), now), Heard::Listed);
    }
    inbox
}

#[test]
fn what_strangers_say_is_cleaned_and_cut_and_no_name_is_no_knock() {
    let long = "x".repeat(5000);
    let said = Said::new("a\nb\u{202e}c", Some(&long), Via::Mqtt, String::new(), true).expect("a name");
    assert_eq!(said.name, "a\u{fffd}b\u{fffd}c");
    assert_eq!(said.client_id.map(|id| id.chars().count()), Some(SAID_CHARS_MAX));
    for nameless in ["", "   ", "\t\n"] {
        assert_eq!(Said::new(nameless, Some("x"), Via::Mqtt, String::new(), true), None, "{nameless:?}");
    }
    let dialects =
        [("10801015", Dialect::Nodemcu), ("4294967296", Dialect::Native), ("lamp", Dialect::Native)];
    for (name, dialect) in dialects {
        assert_eq!(Said::new(name, None, Via::Http, String::new(), false).map(|s| s.dialect), Some(dialect));
    }
}

#[test]
fn who_knocks_again_is_counted_and_not_listed_twice() {
    let mut inbox = Inbox::default();
    assert_eq!(inbox.heard(id(1), said("lamp", "10.0.0.1"), START), Heard::Listed);
    for n in 2..10_002_usize {
        let now = START + Span::seconds(n as i64);
        assert_eq!(inbox.heard(id(n), said("lamp", "10.0.0.1"), now), Heard::Again);
    }
    let list = inbox.list(Standing::New);
    assert_eq!((list.len(), list[0].id, list[0].count), (1, id(1), 10_001));
    assert_eq!((list[0].first_at, list[0].last_at), (START, START + Span::seconds(10_001)));
    assert_eq!(inbox.take_unsaved(100).len(), 1, "ten thousand knocks are one record to write");
    assert!(inbox.take_unsaved(100).is_empty());
}

#[test]
fn who_is_forgotten_and_knocks_again_is_written_and_not_deleted() {
    let mut inbox = Inbox::default();
    inbox.heard(id(1), said("lamp", "10.0.0.1"), START);
    inbox.take_unsaved(100);
    inbox.forget(id(1));
    assert_eq!(inbox.heard(id(1), said("lamp", "10.0.0.1"), START + Span::minutes(2)), Heard::Listed);
    let saves = inbox.take_unsaved(100);
    assert!(matches!(saves.as_slice(), [Save::KnockHeard(knock)] if knock.id == id(1)), "{saves:?}");
    inbox.forget(id(1));
    let saves = inbox.take_unsaved(100);
    inbox.heard(id(1), said("lamp", "10.0.0.1"), START + Span::minutes(4));
    inbox.unsaved_again(&saves);
    assert!(matches!(inbox.take_unsaved(100).as_slice(), [Save::KnockHeard(_)]));
}

#[test]
fn who_knocks_at_two_nodes_is_one() {
    let (mut a, mut b) = (Inbox::default(), Inbox::default());
    a.heard(id(1), said("lamp", "10.0.0.1"), START);
    for second in 1..4 {
        b.heard(id(1), said("lamp", "10.0.0.1"), START + Span::seconds(second));
    }
    let written = b.take_unsaved(100).into_iter().map(|save| match save {
        Save::KnockHeard(knock) => *knock,
        other => panic!("{other:?}"),
    });
    a.refresh(written.collect());
    let list = a.list(Standing::New);
    assert_eq!((list.len(), list[0].id, list[0].count), (1, id(1), 3));
    assert!(a.knows(&said("lamp", "10.0.0.1")));
}

#[test]
fn one_address_adds_so_many_names_a_minute() {
    let mut inbox = Inbox::default();
    let flood = |inbox: &mut Inbox, from: usize, now: Time| {
        let heard =
            (from..from + 10_000).map(|n| inbox.heard(id(n), said(&format!("b{n}"), "10.6.6.6"), now));
        heard.filter(|heard| *heard == Heard::Listed).count()
    };
    assert_eq!(flood(&mut inbox, 0, START), NEW_PER_ADDRESS_MAX as usize);
    assert_eq!(inbox.heard(id(1_000_000), said("honest", "10.0.0.1"), START), Heard::Listed);
    assert_eq!(flood(&mut inbox, 20_000, START + Span::seconds(59)), 0);
    assert_eq!(flood(&mut inbox, 40_000, START + Span::seconds(60)), NEW_PER_ADDRESS_MAX as usize);
}

#[test]
fn an_address_pushes_out_its_own_and_the_whole_pushes_out_the_oldest() {
    let inbox = filled(KNOCKS_PER_ADDRESS_MAX + 5, |_| "10.6.6.6".to_owned());
    assert_eq!(inbox.waiting(), KNOCKS_PER_ADDRESS_MAX);
    assert!(!inbox.knows(&said("board-4", "x")) && inbox.knows(&said("board-5", "x")));

    let mut inbox = filled(KNOCKS_MAX + 3, |n| format!("10.0.{}.{}", n / 100, n % 100));
    assert_eq!(inbox.waiting(), KNOCKS_MAX);
    assert!(!inbox.knows(&said("board-2", "x")) && inbox.knows(&said("board-3", "x")));
    let mut gone = 0;
    loop {
        let saves = inbox.take_unsaved(100);
        assert!(saves.len() <= 100);
        gone += saves.iter().filter(|save| matches!(save, Save::DropKnock(_))).count();
        if saves.is_empty() {
            break;
        }
    }
    assert_eq!(gone, 3, "what is dropped is dropped from the store too");
}

#[test]
fn refused_ones_stay_silent_and_ignored_ones_come_back_when_they_change() {
    let mut inbox = filled(2, |_| "10.0.0.1".to_owned());
    inbox.decided(id(0), Standing::Refused);
    inbox.decided(id(1), Standing::Ignored);
    assert_eq!(inbox.waiting(), 0);
    let later = START + Span::minutes(60);
    for address in ["10.0.0.1", "10.0.0.2"] {
        assert_eq!(inbox.heard(id(7), said("board-0", address), later), Heard::Again);
    }
    assert_eq!(inbox.heard(id(7), said("board-1", "10.0.0.1"), later), Heard::Again);
    assert_eq!(inbox.waiting(), 0, "neither said anything new that counts");
    assert_eq!(inbox.heard(id(7), said("board-1", "10.0.0.2"), later), Heard::Listed);
    assert_eq!(inbox.list(Standing::New)[0].id, id(1));
    inbox.forget(id(0));
    assert_eq!(inbox.heard(id(8), said("board-0", "10.0.0.1"), later), Heard::Listed);
}

#[test]
fn deciding_is_stated_once() {
    let inbox = filled(1, |_| "10.0.0.1".to_owned());
    let knock = inbox.get(id(0)).expect("is there");
    let effects = decide(knock, Standing::Refused, &ada());
    assert_eq!(effects.changes[0].kind, ChangeKind::KnockRefused);
    assert!(matches!(&effects.save[..], [Save::Knock(saved)] if saved.standing == Standing::Refused));
    assert!(decide(knock, Standing::New, &ada()).is_empty());
    let effects = delete(knock, &ada());
    assert_eq!(
        (&effects.save[..], effects.changes[0].kind),
        (&[Save::DropKnock(id(0))][..], ChangeKind::KnockDeleted)
    );
}

#[test]
fn accepting_registers_the_device_and_says_so_when_it_needs_no_credential() {
    let mut inbox = Inbox::default();
    inbox.heard(id(0), said("10801015", "10.0.0.1"), START);
    let knock = inbox.get(id(0)).expect("is there").clone();
    let registration = Registration {
        name: "Lamp".to_owned(),
        description: String::new(),
        dialect: Dialect::Nodemcu,
        external_id: Some("10801015".to_owned()),
        tags: Vec::new(),
        line: None,
    };
    let mut wanted = Acceptance { registration, without_credential: true };
    let device_id = DeviceId::from_parts(2, 2);
    let accept = |wanted: &Acceptance| accept(device_id, &knock, wanted, Digest([7; 32]), &ada(), START);
    let (device, effects) = accept(&wanted).expect("is accepted");
    assert!(device.unauthenticated_allowed);
    assert!(matches!(&effects.save[0], Save::Device(saved) if **saved == device));
    assert!(effects.save.contains(&Save::DropKnock(knock.id)));
    assert_eq!(effects.changes[0].after.as_ref().expect("after")["unauthenticated_allowed"], true);
    wanted.registration.dialect = Dialect::Native;
    assert!(accept(&wanted).is_err(), "a device of our own protocol always has a credential");
    inbox.registered(&device);
    assert_eq!(inbox.waiting(), 0, "it is no stranger any more");
}
