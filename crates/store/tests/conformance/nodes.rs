//! Several nodes on one store: who holds which work, who lives, and what all have alike.

use motehub_domain::effects::{Effects, Save};
use motehub_domain::gateway::{Gateway, Taken};
use motehub_domain::id::GatewayId;
use motehub_domain::time::{Span, Time};
use motehub_store::{Node, StoreError};
use serde_json::json;

use crate::world::{NOW, World};

const TTL: Span = Span::seconds(6);

fn note(text: &str) -> Effects {
    Effects { save: vec![Save::Note("word".to_owned(), Some(text.into()))], ..Effects::none() }
}

pub(crate) async fn work_has_one_holder_who_loses_it_when_it_does_not_renew(world: &mut World) {
    let store = &world.store;
    let take = |who: &'static str, now: Time| store.take_lease("rules", who, who, now + TTL, now);
    let one = take("one", NOW).await.unwrap().expect("nobody had it");
    assert_eq!(take("two", NOW).await, Ok(None));
    assert_eq!(take("two", NOW + TTL).await, Ok(None), "it holds until the end of its time");
    assert_eq!(store.renew_lease(&one, NOW + Span::seconds(8)).await, Ok(true));
    assert_eq!(take("two", NOW + Span::seconds(7)).await, Ok(None));
    let two = take("two", NOW + Span::seconds(9)).await.unwrap().expect("its time is over");
    assert_eq!((one.epoch, two.epoch), (1, 2));
    assert_eq!(store.renew_lease(&one, NOW + Span::minutes(1)).await, Ok(false));
    let leases = store.leases().await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!((leases[0].node.as_str(), &leases[0].held), ("two", &two));
    store.release_lease(&one).await.unwrap();
    assert_eq!(take("one", NOW + Span::seconds(10)).await, Ok(None), "a former holder gives nothing back");
    store.release_lease(&two).await.unwrap();
    assert!(take("one", NOW + Span::seconds(10)).await.unwrap().is_some());
}

pub(crate) async fn what_a_former_holder_writes_is_refused(world: &mut World) {
    let store = &world.store;
    let one = store.take_lease("rules", "one", "one", NOW + TTL, NOW).await.unwrap().unwrap();
    store.commit_under(Some(&one), &note("one"), NOW).await.unwrap();
    let late = NOW + Span::minutes(1);
    let two = store.take_lease("rules", "two", "two", late + TTL, late).await.unwrap().unwrap();
    let refused = store.commit_under(Some(&one), &note("too late"), late).await;
    assert!(matches!(refused, Err(StoreError::Conflict { what: "lease" })), "{refused:?}");
    assert_eq!(store.note("word").await.unwrap().unwrap(), b"one");
    store.commit_under(Some(&two), &note("two"), late).await.unwrap();
    assert_eq!(store.note("word").await.unwrap().unwrap(), b"two");
}

pub(crate) async fn a_node_has_its_name_alone_while_it_lives(world: &mut World) {
    let node = |instance: &str, seen_at: Time| Node {
        name: "a".to_owned(),
        instance: instance.to_owned(),
        version: "1.0.0".to_owned(),
        started_at: NOW,
        seen_at,
        address: "127.0.0.1:8080".to_owned(),
        figures: json!({ "connections": 7 }),
    };
    let store = &world.store;
    assert_eq!(store.beat(&node("first", NOW), NOW - TTL).await, Ok(true));
    let later = NOW + Span::seconds(2);
    assert_eq!(store.beat(&node("second", later), later - TTL).await, Ok(false));
    assert_eq!(store.beat(&node("first", later), later - TTL).await, Ok(true));
    assert_eq!(store.nodes().await.unwrap(), [node("first", later)]);
    let late = NOW + Span::minutes(1);
    assert_eq!(store.beat(&node("second", late), late - TTL).await, Ok(true));
    store.leave("a", "first").await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), [node("second", late)], "it left long ago");
    store.leave("a", "second").await.unwrap();
    assert_eq!(store.beat(&node("third", late), late - TTL).await, Ok(true), "it left in good order");
    store.forget_node("a", NOW).await.unwrap();
    assert_eq!(store.nodes().await.unwrap().len(), 1);
    store.forget_node("a", late + TTL).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), []);
}

pub(crate) async fn the_first_word_counts_for_all(world: &mut World) {
    assert_eq!(world.store.note_once("hub", b"one").await.unwrap(), b"one");
    assert_eq!(world.store.note_once("hub", b"two").await.unwrap(), b"one");
}

pub(crate) async fn a_place_in_the_spool_of_a_gateway_is_taken_once(world: &mut World) {
    let gateway = Gateway {
        id: GatewayId::from_parts(0, 1),
        name: "cellar".to_owned(),
        key: None,
        next_key: None,
        selector: String::new(),
        created_at: NOW,
        revision: 1,
    };
    let id = gateway.id;
    world.save([Save::Gateway(Box::new(gateway))]).await.unwrap();
    let taken = |number| Taken { gateway: id, spool: 7, lane: "said", number };
    let note = |text: &str| Save::Note("word".to_owned(), Some(text.into()));
    world.save([note("one"), Save::Taken(taken(1))]).await.unwrap();
    // Another node had the link before, and was slow; or an answer was lost.
    let again = world.save([note("once more"), Save::Taken(taken(1))]).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    assert_eq!(world.store.note("word").await, Ok(Some(b"one".to_vec())));
    world.save([note("three"), Save::TakenUpTo(taken(3))]).await.unwrap();
    world.save([note("two"), Save::TakenUpTo(taken(2))]).await.unwrap();
    assert_eq!(world.store.taken(id, 7, "said").await, Ok(3));
    assert_eq!(world.store.note("word").await, Ok(Some(b"two".to_vec())));
}
