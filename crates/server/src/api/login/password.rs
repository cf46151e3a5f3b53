//! Whose password it is. One that was brought from mDash is hashed anew when its owner first comes in with it.

use motehub_domain::effects::Effects;
use motehub_domain::person::{self, User};

use crate::app::App;
use crate::mdash;
use crate::perform::Failure;
use crate::secrets;

/// The user with this name and password; nobody if one of them is wrong, and nobody who is shut out.
pub(crate) async fn owner(app: &App, name: &str, password: String) -> Result<Option<User>, Failure> {
    let found = app.store.user_by_name(name).await?;
    // A name is no secret. Users who have no other password come from mDash, and are let in only if that was asked for.
    let found = found.filter(|_| name != password || mdash::is_let_in(app, name));
    let hash = found.as_ref().map(|user| user.password_hash.clone());
    let is_right = app.throttle.verify(password.clone(), hash).await;
    let Some(user) = found.filter(|user| is_right && !user.disabled) else { return Ok(None) };
    if !secrets::is_bcrypt(&user.password_hash) {
        return Ok(Some(user));
    }
    let hash = app.throttle.hash(password.clone()).await?;
    let is_weak =
        secrets::check_password(&password, &user.name).is_err() && !mdash::is_let_in(app, &user.name);
    let kept = app.attempt(|| async {
        let current = app.store.user(user.id).await?;
        let same = current.filter(|current| current.password_hash == user.password_hash);
        Ok(match same.map(|current| person::keep_brought(&current, hash.clone(), is_weak)) {
            Some((kept, effects)) => (Some(kept), effects),
            None => (None, Effects::none()),
        })
    });
    if let Some(kept) = kept.await? {
        return Ok(Some(kept));
    }
    // Somebody was faster: with the same password, or with a new one.
    let current = app.store.user(user.id).await?;
    let hash = current.as_ref().map(|user| user.password_hash.clone());
    let is_right = app.throttle.verify(password, hash).await;
    Ok(current.filter(|user| is_right && !user.disabled))
}
