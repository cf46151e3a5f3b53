//! Shares, invitations and customers.

use motehub_domain::access::Role;
use motehub_domain::effects::Save;
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::person::User;
use motehub_domain::share::{Gift, Invitation, Right, Share};
use motehub_domain::time::{Span, Time};
use motehub_store::{DeviceQuery, StoreError};

use crate::world::{NOW, World, digest, id};

fn person(number: u128, name: &str, role: Role) -> User {
    User {
        id: id(number),
        name: name.into(),
        role,
        disabled: false,
        password_hash: "$argon2id$".into(),
        must_change_password: false,
        created_at: NOW,
        last_login_at: None,
        revision: 1,
    }
}

fn share(device: DeviceId, user: UserId, right: Right, until: Option<Time>) -> Share {
    Share {
        device,
        user,
        right,
        until,
        name: Some("Bedroom".into()),
        name_shown: false,
        created_by: "Ada".into(),
        created_at: NOW,
        revision: 1,
    }
}

fn save(share: &Share) -> Save {
    Save::Share(Box::new(share.clone()))
}

fn invitation(number: u128, byte: u8, gift: Gift) -> Invitation {
    let expires_at = Some(NOW + Span::days(1));
    Invitation {
        id: id(number),
        digest: digest(byte),
        gift,
        created_by: "Ada".into(),
        created_at: NOW + Span(i64::from(byte)),
        expires_at,
    }
}

pub(crate) async fn a_device_has_one_owner_and_shares_end_with_it(world: &mut World) {
    let (lamp, fan) = (world.device(1).await, world.device(2).await);
    let (ada, bo) = (person(11, "Ada", Role::Customer), person(12, "Bo", Role::Customer));
    let people = [Save::User(Box::new(ada.clone())), Save::User(Box::new(bo.clone()))];
    world.save(people).await.unwrap();
    let until = NOW + Span::minutes(5);
    let of_ada = share(lamp.id, ada.id, Right::Owner, None);
    let of_bo = share(lamp.id, bo.id, Right::View, Some(until));
    world.save([save(&of_ada), save(&of_bo)]).await.unwrap();
    let second = world.save([save(&Share { right: Right::Owner, revision: 2, ..of_bo.clone() })]).await;
    assert_eq!(second, Err(StoreError::Conflict { what: "share" }));
    assert_eq!(world.save([save(&of_bo)]).await, Err(StoreError::Conflict { what: "share" }), "it is there");
    world.reopen().await;
    assert_eq!(world.store.share(lamp.id, ada.id).await, Ok(Some(of_ada.clone())));
    assert_eq!(world.store.share(fan.id, ada.id).await, Ok(None));
    let names: Vec<_> = world.store.shares_of(lamp.id).await.unwrap();
    assert_eq!(names.iter().map(|s| s.user_name.as_str()).collect::<Vec<_>>(), ["Ada", "Bo"]);
    for (now, seen) in [(until - Span(1), 1), (until, 0)] {
        assert_eq!(world.store.shares_with(bo.id, now).await.unwrap().len(), seen);
        let query = DeviceQuery { shared_with: Some(bo.id), now, limit: 10, ..DeviceQuery::default() };
        let (views, total) = world.store.devices(query).await.unwrap();
        assert_eq!((views.len(), total), (seen, seen as i64), "only what is shared, while it is");
    }
    world.save([Save::EndShare(lamp.id, bo.id)]).await.unwrap();
    let again = world.save([Save::EndShare(lamp.id, bo.id)]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "share" }));
    world.save([save(&of_bo), save(&share(fan.id, bo.id, Right::Owner, None))]).await.unwrap();
    world.save([Save::DeleteUser(ada.id)]).await.unwrap();
    assert_eq!(world.store.shares_of(lamp.id).await, Ok(Vec::new()), "guests go with the owner");
    world.save([Save::DeleteDevice(fan.id)]).await.unwrap();
    assert_eq!(world.store.shares_with(bo.id, NOW).await, Ok(Vec::new()));
}

pub(crate) async fn a_claim_code_takes_the_place_of_the_one_before(world: &mut World) {
    let lamp = world.device(1).await;
    let keep = |invitation: &Invitation| Save::Invitation(Box::new(invitation.clone()));
    let mut first = invitation(1, 1, Gift::Claim(lamp.id));
    first.expires_at = None;
    let second = Invitation { id: id(2), digest: digest(2), ..first.clone() };
    let guest = invitation(3, 3, Gift::Share(lamp.id, Right::Control, Some(NOW + Span::days(2))));
    let account = invitation(4, 4, Gift::Account);
    world.save([keep(&first), keep(&guest), keep(&account), keep(&second)]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.invitation_by_digest(first.digest).await, Ok(None));
    assert_eq!(world.store.invitation_by_digest(second.digest).await, Ok(Some(second.clone())));
    assert_eq!(world.store.invitation(guest.id).await, Ok(Some(guest.clone())));
    assert_eq!(world.store.invitations(None, NOW).await, Ok(vec![account.clone()]));
    assert_eq!(world.store.invitations(Some(lamp.id), NOW).await, Ok(vec![second.clone(), guest.clone()]));
    let later = NOW + Span::days(1);
    assert_eq!(world.store.invitations(Some(lamp.id), later).await, Ok(vec![second.clone()]));
    world.save([Save::DropInvitation(second.id)]).await.unwrap();
    let again = world.save([Save::DropInvitation(second.id)]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "invitation" }), "it serves once");
    assert_eq!(world.store.sweep_invitations(later).await, Ok(2));
    world.save([keep(&first), keep(&Invitation { expires_at: None, ..guest })]).await.unwrap();
    world.save([Save::EndSharesOf(lamp.id)]).await.unwrap();
    assert_eq!(world.store.invitations(Some(lamp.id), NOW).await, Ok(Vec::new()));
}

pub(crate) async fn customers_are_listed_apart_from_the_vendors_people(world: &mut World) {
    let lamp = world.device(1).await;
    let ada = person(11, "Ada", Role::Admin);
    let (bo, eve) = (person(12, "Bo", Role::Customer), person(13, "Eve_1", Role::Customer));
    for user in [&ada, &bo, &eve] {
        world.save([Save::User(Box::new(user.clone()))]).await.unwrap();
    }
    world.save([save(&share(lamp.id, bo.id, Right::Owner, None))]).await.unwrap();
    assert_eq!(world.store.users().await, Ok(vec![ada]));
    let list = async |text: &str, offset| {
        let (found, total) = world.store.customers(text, NOW, offset, 10).await.unwrap();
        (found.into_iter().map(|c| (c.user.name, c.devices)).collect::<Vec<_>>(), total)
    };
    assert_eq!(list("", 0).await, (vec![("Bo".to_owned(), 1), ("Eve_1".to_owned(), 0)], 2));
    assert_eq!(list("", 1).await, (vec![("Eve_1".to_owned(), 0)], 2));
    assert_eq!(list("E_", 0).await, (vec![("Eve_1".to_owned(), 0)], 1), "_ is a letter like others");
    assert_eq!(list("ada", 0).await, (vec![], 0));
}
