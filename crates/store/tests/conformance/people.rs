//! People, programs and grants.

use motehub_domain::access::Role;
use motehub_domain::effects::Save;
use motehub_domain::person::{Grant, Grantee, Login, Token, User};
use motehub_domain::pusher::PusherApp;
use motehub_domain::pyaiot;
use motehub_domain::time::Span;
use motehub_domain::topic::TopicFilter;
use motehub_store::StoreError;

use crate::world::{NOW, World, digest, id};

fn user(number: u128, name: &str) -> User {
    User {
        id: id(number),
        name: name.into(),
        role: Role::Admin,
        disabled: false,
        password_hash: "$argon2id$".into(),
        must_change_password: true,
        created_at: NOW,
        last_login_at: None,
        revision: 1,
    }
}

pub(crate) async fn users_have_names_without_case(world: &mut World) {
    let mut ada = user(1, "Ärzte Ada");
    world.save([Save::User(Box::new(ada.clone()))]).await.unwrap();
    let twin = world.save([Save::User(Box::new(user(2, "ärzte ada")))]).await;
    assert_eq!(twin, Err(StoreError::Taken { field: "name" }));
    assert_eq!(world.store.user_by_name("ÄRZTE ADA").await, Ok(Some(ada.clone())));
    assert_eq!(world.store.user_by_name("Eve").await, Ok(None));
    assert_eq!(world.store.admins().await, Ok(1));
    ada.last_login_at = Some(NOW);
    ada.disabled = true;
    ada.revision = 2;
    world.save([Save::User(Box::new(ada.clone())), Save::User(Box::new(user(3, "Bo")))]).await.unwrap();
    let stale = world.save([Save::User(Box::new(ada.clone()))]).await;
    assert_eq!(stale, Err(StoreError::Conflict { what: "user" }));
    world.reopen().await;
    assert_eq!(world.store.user(ada.id).await, Ok(Some(ada.clone())));
    assert_eq!(world.store.users().await, Ok(vec![user(3, "Bo"), ada]));
    assert_eq!(world.store.admins().await, Ok(1), "a disabled one does not count");
}

pub(crate) async fn logins_live_and_end_with_their_user(world: &mut World) {
    let ada = user(1, "Ada");
    let mut login = Login {
        digest: digest(1),
        user: ada.id,
        created_at: NOW,
        seen_at: NOW,
        address: "::1".into(),
        csrf: "secret".into(),
    };
    let other = Login { digest: digest(2), ..login.clone() };
    let save = |login: &Login| Save::Login(login.clone());
    world.save([Save::User(Box::new(ada.clone())), save(&login), save(&other)]).await.unwrap();
    login.seen_at = NOW + Span::minutes(1);
    world.save([save(&login)]).await.unwrap();
    assert_eq!(world.store.login(digest(1)).await, Ok(Some((login.clone(), ada.clone()))));
    world.save([Save::EndOtherLoginsOf(ada.id, digest(1))]).await.unwrap();
    assert_eq!(world.store.login(digest(2)).await, Ok(None));
    world.save([save(&other), Save::EndLogin(digest(1))]).await.unwrap();
    world.save([Save::LoginSeen(digest(1), NOW + Span::minutes(2))]).await.unwrap();
    assert_eq!(world.store.login(digest(1)).await, Ok(None), "one that has ended is not revived");
    world.save([Save::LoginSeen(digest(2), NOW + Span::minutes(2))]).await.unwrap();
    assert_eq!(
        world.store.login(digest(2)).await.unwrap().map(|(l, _)| l.seen_at),
        Some(NOW + Span::minutes(2))
    );
    world.save([Save::EndLogin(digest(1))]).await.unwrap();
    assert_eq!(world.store.login(digest(1)).await, Ok(None));
    assert!(world.store.login(digest(2)).await.unwrap().is_some());
    world.save([Save::EndLoginsOf(ada.id)]).await.unwrap();
    assert_eq!(world.store.login(digest(2)).await, Ok(None));
    let old = Login { digest: digest(3), created_at: NOW - Span::days(30), ..login.clone() };
    let idle = Login { digest: digest(4), seen_at: NOW - Span::days(7), ..login.clone() };
    world.save([save(&other), save(&old), save(&idle)]).await.unwrap();
    assert_eq!(world.store.sweep_logins(NOW).await, Ok(0));
    assert_eq!(world.store.sweep_logins(NOW + Span(1)).await, Ok(2));
    assert!(world.store.login(digest(2)).await.unwrap().is_some());
    world.save([save(&other), Save::DeleteUser(ada.id)]).await.unwrap();
    assert_eq!(world.store.login(digest(2)).await, Ok(None));
    assert!(matches!(world.save([save(&other)]).await, Err(StoreError::Conflict { .. })));
}

pub(crate) async fn tokens_are_found_by_digest(world: &mut World) {
    let mut token = Token {
        id: id(1),
        name: "backup".into(),
        role: Role::Viewer,
        digest: digest(1),
        has_access_key: true,
        created_at: NOW,
        expires_at: Some(NOW + Span::days(1)),
        last_used_at: None,
    };
    world.save([Save::Token(token.clone())]).await.unwrap();
    let twin = Token { id: id(2), digest: digest(2), ..token.clone() };
    assert_eq!(world.save([Save::Token(twin)]).await, Err(StoreError::Taken { field: "name" }));
    world.save([Save::TokenUsed(token.id, NOW), Save::TokenUsed(id(9), NOW)]).await.unwrap();
    token.last_used_at = Some(NOW);
    world.reopen().await;
    assert_eq!(world.store.token_by_digest(digest(1)).await, Ok(Some(token.clone())));
    assert_eq!(world.store.token(token.id).await, Ok(Some(token.clone())));
    assert_eq!(world.store.tokens().await, Ok(vec![token.clone()]));
    world.save([Save::DeleteToken(token.id)]).await.unwrap();
    assert_eq!(world.store.token_by_digest(digest(1)).await, Ok(None));
}

pub(crate) async fn keys_of_pyaiot_gateways_are_kept(world: &mut World) {
    let mut key = pyaiot::Key {
        id: id(1),
        name: "lab".into(),
        fernet: pyaiot::Fernet(digest(7).0),
        secret: digest(1),
        devices: Some("tag=lab".into()),
        token_age_max: Some(Span::minutes(1)),
        created_at: NOW,
        last_used_at: None,
    };
    let save = |key: &pyaiot::Key| Save::PyaiotKey(Box::new(key.clone()));
    world.save([save(&key)]).await.unwrap();
    let twin = pyaiot::Key { id: id(2), ..key.clone() };
    assert_eq!(world.save([save(&twin)]).await, Err(StoreError::Taken { field: "name" }));
    world.save([Save::PyaiotKeyUsed(key.id, NOW), Save::PyaiotKeyUsed(id(9), NOW)]).await.unwrap();
    key.last_used_at = Some(NOW);
    world.reopen().await;
    assert_eq!(world.store.pyaiot_keys().await, Ok(vec![key.clone()]));
    let plain =
        pyaiot::Key { id: id(3), name: "attic".into(), devices: None, token_age_max: None, ..key.clone() };
    world.save([save(&plain), Save::DeletePyaiotKey(key.id)]).await.unwrap();
    assert_eq!(world.store.pyaiot_keys().await, Ok(vec![plain]));
}

pub(crate) async fn pusher_apps_are_kept(world: &mut World) {
    let app = PusherApp {
        id: id(1),
        number: 123_456_789,
        name: "page".into(),
        key: "abc123".into(),
        base_token: Some(digest(1)),
        created_at: NOW,
    };
    let save = |app: &PusherApp| Save::PusherApp(Box::new(app.clone()));
    world.save([save(&app)]).await.unwrap();
    let twin = PusherApp { id: id(2), ..app.clone() };
    assert_eq!(world.save([save(&twin)]).await, Err(StoreError::Taken { field: "name" }));
    world.reopen().await;
    assert_eq!(world.store.pusher_apps().await, Ok(vec![app.clone()]));
    let plain = PusherApp {
        id: id(3),
        number: 2,
        name: "base".into(),
        key: "k".into(),
        base_token: None,
        ..app.clone()
    };
    world.save([save(&plain), Save::DeletePusherApp(app.id)]).await.unwrap();
    assert_eq!(world.store.pusher_apps().await, Ok(vec![plain]));
}

pub(crate) async fn grants_are_for_devices_and_tags(world: &mut World) {
    let (lamp, fan) = (world.device(1).await.id, world.device(2).await.id);
    let grant = |number, grantee| Grant {
        id: id(number),
        grantee,
        filter: TopicFilter::parse("room/+/light/#").unwrap(),
        publish: true,
        subscribe: false,
    };
    let to_lamp = grant(1, Grantee::Device(lamp));
    let to_tag = grant(2, Grantee::Tag("kitchen".into()));
    let to_other = grant(3, Grantee::Tag("cellar".into()));
    let all = [to_lamp.clone(), to_tag.clone(), to_other.clone()];
    world.save(all.clone().map(Save::Grant)).await.unwrap();
    assert_eq!(world.store.grants().await, Ok(all.to_vec()));
    assert_eq!(world.store.grant(id(3)).await, Ok(Some(to_other.clone())));
    let tags = ["kitchen".to_owned(), "x".to_owned()];
    assert_eq!(world.store.grants_for(lamp, &tags).await, Ok(vec![to_lamp.clone(), to_tag.clone()]));
    assert_eq!(world.store.grants_for(fan, &tags).await, Ok(vec![to_tag]));
    assert_eq!(world.store.grants_for(fan, &[]).await, Ok(Vec::new()));
    world.save([Save::DeleteGrant(id(3))]).await.unwrap();
    world.save([Save::DeleteDevice(lamp)]).await.unwrap();
    assert_eq!(world.store.grants().await.unwrap().len(), 1, "a device's grants go with it");
}
