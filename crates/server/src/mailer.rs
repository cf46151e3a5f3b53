//! Mail to people, by SMTP: one server, which is set at start and passes everything on.
//!
//! The conversation is our own (`smtp.rs`): a library for it would bring forty crates for a dozen lines of text.

mod message;
mod smtp;

use std::sync::Arc;

use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeliveryId;
use motehub_domain::rejection::Rejection;
use motehub_domain::webhook::{Answer, Delivery, Mail};
use tokio::sync::oneshot;

use crate::app::App;
use crate::perform::Failure;
use crate::random;
use crate::settings::SmtpSettings;

/// The way to the mail server.
pub(crate) struct Mailer(Arc<SmtpSettings>);

impl Mailer {
    /// A way to a server; nothing is sent yet.
    pub(crate) fn new(settings: &SmtpSettings) -> Self {
        Self(Arc::new(settings.clone()))
    }

    /// Hands a mail over, on a thread of its own: a slow server holds up nobody.
    pub(crate) async fn send(&self, delivery: &Delivery) -> Answer {
        let Some(mail) = delivery.as_mail() else { return Answer::new(Some(550), "it is no mail") };
        let text = message::written(&self.0.from, &mail, delivery);
        let settings = self.0.clone();
        let (told, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("mail".to_owned());
        let spawned = thread.spawn(move || drop(told.send(smtp::send(&settings, &mail.to, &text))));
        match spawned {
            Ok(_) => answer.await.unwrap_or_else(|_| Answer::new(None, "it ended without an answer")),
            Err(error) => Answer::new(None, &format!("no thread for it: {error}")),
        }
    }
}

impl App {
    /// Queues a mail: it is on disk when this returns, and is sent in its turn.
    ///
    /// # Errors
    /// `conflict` (`no_mail`) if no mail server is set, `invalid` for what is no mail, or what the store says.
    pub(crate) async fn mail(&self, mail: &Mail) -> Result<DeliveryId, Failure> {
        self.must_have_mail()?;
        let delivery = Delivery::mail(random::id(self.now()), mail, self.now())?;
        let id = delivery.id;
        self.perform(Effects { save: vec![Save::Delivery(Box::new(delivery))], ..Effects::none() }).await?;
        Ok(id)
    }

    /// Refuses if no mail server is set.
    pub(crate) fn must_have_mail(&self) -> Result<(), Rejection> {
        match self.mailer {
            Some(_) => Ok(()),
            None => Err(Rejection::conflict(
                "no_mail",
                "no mail server is set: start the hub with --smtp and --mail-from",
            )),
        }
    }
}
