//! Dashboards and public links.

use motehub_domain::access::Role;
use motehub_domain::dashboard::{self, Dashboard, PublicLink};
use motehub_domain::effects::Save;
use motehub_domain::id::UserId;
use motehub_domain::person::User;
use motehub_domain::time::Span;
use motehub_store::StoreError;
use serde_json::json;

use crate::world::{NOW, World, digest, id};

fn user(number: u128, name: &str) -> Save {
    Save::User(Box::new(User {
        id: id(number),
        name: name.into(),
        role: Role::Viewer,
        disabled: false,
        password_hash: "$argon2id$".into(),
        must_change_password: false,
        created_at: NOW,
        last_login_at: None,
        revision: 1,
    }))
}

fn page(number: u128, name: &str, owner: Option<UserId>, is_shared: bool) -> Dashboard {
    let block = json!({ "id": "b", "kind": "text", "markdown": "é\u{0}", "x": 0, "y": 0, "w": 1, "h": 1 });
    let source = json!({ "format": "motehub-dashboard/1", "name": name, "blocks": [block] });
    let document = dashboard::document(&source).unwrap();
    Dashboard { id: id(number), owner, is_shared, document, created_at: NOW, updated_at: NOW, revision: 1 }
}

fn save(dashboard: &Dashboard) -> Save {
    Save::Dashboard(Box::new(dashboard.clone()))
}

pub(crate) async fn dashboards_are_seen_by_their_owner_or_by_all(world: &mut World) {
    let (ada, bo) = (id(1), id(2));
    world.save([user(1, "Ada"), user(2, "Bo")]).await.unwrap();
    let mut own = page(1, "Zoo", Some(ada), false);
    let shared = page(2, "attic", Some(ada), true);
    let nobodys = page(3, "Cellar", None, true);
    world.save([save(&own), save(&shared), save(&nobodys)]).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.dashboard(own.id).await, Ok(Some(own.clone())));
    let names = async |seen_by, offset, limit| {
        let (items, total) = world.store.dashboards(seen_by, offset, limit).await.unwrap();
        (items.into_iter().map(|entry| entry.name).collect::<Vec<_>>(), total)
    };
    assert_eq!(names(Some(ada), 0, 9).await, (vec!["attic".into(), "Cellar".into(), "Zoo".into()], 3));
    assert_eq!(names(Some(ada), 1, 1).await, (vec!["Cellar".into()], 3));
    assert_eq!(names(Some(bo), 0, 9).await, (vec!["attic".into(), "Cellar".into()], 2));
    assert_eq!(names(None, 0, 9).await.1, 2);
    assert_eq!(world.store.count_dashboards().await, Ok(3));
    let (items, _) = world.store.dashboards(Some(ada), 0, 1).await.unwrap();
    assert_eq!((items[0].owner.clone(), items[0].blocks), (Some((ada, "Ada".into())), 1));
    own.revision = 3;
    assert_eq!(world.save([save(&own)]).await, Err(StoreError::Conflict { what: "dashboard" }));
    own.revision = 2;
    world.save([save(&own)]).await.unwrap();
    world.save([Save::DeleteUser(ada)]).await.unwrap();
    assert_eq!(world.store.dashboard(own.id).await, Ok(None), "it was hers alone");
    let left = world.store.dashboard(shared.id).await.unwrap().expect("others see it");
    assert_eq!(left.owner, None);
    world.save([Save::DeleteDashboard(shared.id)]).await.unwrap();
    let again = world.save([Save::DeleteDashboard(shared.id)]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "dashboard" }));
}

pub(crate) async fn public_links_go_with_their_dashboard(world: &mut World) {
    let shown = page(1, "Zoo", None, true);
    let link = |number: u8, expires_at| PublicLink {
        id: id(number.into()),
        dashboard: shown.id,
        label: "door".into(),
        digest: digest(number),
        created_by: "ada".into(),
        created_at: NOW,
        expires_at,
        last_used_at: None,
    };
    let (one, other) = (link(1, None), link(2, Some(NOW + Span::days(1))));
    let saved = [&one, &other].map(|link| Save::PublicLink(Box::new(link.clone())));
    world.save([save(&shown)]).await.unwrap();
    world.save(saved).await.unwrap();
    assert_eq!(world.store.public_links(shown.id).await, Ok(vec![one.clone(), other.clone()]));
    world.save([Save::PublicLinkUsed(other.id, NOW + Span(5))]).await.unwrap();
    let used = PublicLink { last_used_at: Some(NOW + Span(5)), ..other };
    assert_eq!(world.store.public_link(digest(2)).await, Ok(Some(used)));
    world.save([Save::WithdrawPublicLink(one.id)]).await.unwrap();
    let again = world.save([Save::WithdrawPublicLink(one.id)]).await;
    assert_eq!(again, Err(StoreError::Conflict { what: "public link" }));
    assert_eq!(world.store.public_link(digest(1)).await, Ok(None));
    world.save([Save::DeleteDashboard(shown.id)]).await.unwrap();
    assert_eq!(world.store.public_link(digest(2)).await, Ok(None));
}
