//! The settings of what the hub sends outside: where it may post, and its mail server.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use motehub_domain::network::Network;
use motehub_domain::webhook::delivery::is_address;
use motehub_server::{SmtpSecurity, SmtpSettings};

/// What the hub sends outside.
#[derive(clap::Args, Default)]
pub(crate) struct OutsideOptions {
    /// Let webhooks and flows post to a network that is not public, such as 192.168.1.0/24; repeatable
    #[arg(long, value_name = "NETWORK", env = "MOTEHUB_WEBHOOK_NETWORK", value_delimiter = ',')]
    pub(crate) webhook_network: Vec<String>,
    /// The mail server, such as smtps://hub@mail.example:465: smtps is TLS, smtp STARTTLS, smtp+plain neither
    #[arg(long, value_name = "URL", env = "MOTEHUB_SMTP")]
    pub(crate) smtp: Option<String>,
    /// A file with the password for the mail server; or give it as MOTEHUB_SMTP_PASSWORD
    #[arg(long, value_name = "FILE", env = "MOTEHUB_SMTP_PASSWORD_FILE")]
    pub(crate) smtp_password_file: Option<PathBuf>,
    /// From whom mails come, such as hub@example.org
    #[arg(long, value_name = "ADDRESS", env = "MOTEHUB_MAIL_FROM")]
    pub(crate) mail_from: Option<String>,
}

impl OutsideOptions {
    /// These, and those of a file where nothing else is said.
    pub(super) fn or(self, file: Self) -> Self {
        let networks = self.webhook_network;
        Self {
            webhook_network: if networks.is_empty() { file.webhook_network } else { networks },
            smtp: self.smtp.or(file.smtp),
            smtp_password_file: self.smtp_password_file.or(file.smtp_password_file),
            mail_from: self.mail_from.or(file.mail_from),
        }
    }

    /// The networks that are posted to beside public addresses.
    pub(super) fn networks(&self) -> anyhow::Result<Vec<Network>> {
        self.webhook_network.iter().map(|text| network("webhook-network", text)).collect()
    }

    /// The mail server, if there is one.
    pub(super) fn mail(&self, password: Option<String>) -> anyhow::Result<Option<SmtpSettings>> {
        let (url, from) = match (&self.smtp, &self.mail_from) {
            (Some(url), Some(from)) if is_address(from) => (url, from.clone()),
            (Some(_), Some(from)) => {
                bail!("mail-from: {from:?} is no address: write it such as hub@example.org")
            }
            (None, None) => return Ok(None),
            _ => bail!("smtp and mail-from: give both or none"),
        };
        let (security, usual, rest) = match url.split_once("://") {
            Some(("smtps", rest)) => (SmtpSecurity::Tls, 465, rest),
            Some(("smtp", rest)) => (SmtpSecurity::StartTls, 587, rest),
            Some(("smtp+plain", rest)) => (SmtpSecurity::None, 25, rest),
            _ => bail!("smtp: {url:?} is none: write it such as smtps://hub@mail.example:465"),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, rest),
        };
        let (host, port) = match place.trim_end_matches('/').rsplit_once(':') {
            Some((host, port)) => (host, port.parse().context("smtp: the port is a number")?),
            None => (place.trim_end_matches('/'), usual),
        };
        if host.is_empty() || port == 0 {
            bail!("smtp: the name of the mail server is missing");
        }
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            bail!(
                "smtp: put the password into a file and name it by smtp-password-file, not into the address"
            );
        }
        let password = match &self.smtp_password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some(
                    text.with_context(|| format!("smtp-password-file: {}", path.display()))?
                        .trim()
                        .to_owned(),
                )
            }
            None => password,
        };
        let login = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => {
                bail!("smtp: its password is missing: smtp-password-file or MOTEHUB_SMTP_PASSWORD")
            }
            (None, Some(_)) => bail!("smtp: there is a password but no user: smtps://USER@host"),
        };
        if login.is_some() && security == SmtpSecurity::None {
            bail!(
                "smtp: a password is not sent without encryption: use smtps:// or smtp://, or leave out the user"
            );
        }
        Ok(Some(SmtpSettings { security, host: host.to_owned(), port, login, from }))
    }
}

/// A network that a setting names.
pub(super) fn network(setting: &str, text: &str) -> anyhow::Result<Network> {
    Network::parse(setting, text).map_err(|rejection| anyhow!("{text:?}: {rejection}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(url: &str, password: Option<&str>) -> Result<Option<SmtpSettings>, String> {
        let options = OutsideOptions {
            smtp: Some(url.to_owned()),
            mail_from: Some("hub@example.org".to_owned()),
            ..OutsideOptions::default()
        };
        options.mail(password.map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mail_server_is_written_as_an_address() {
        let found = mail("smtps://ada@example.org@mail.example", Some("pw")).unwrap().unwrap();
        assert_eq!(
            (found.security, found.host.as_str(), found.port),
            (SmtpSecurity::Tls, "mail.example", 465)
        );
        assert_eq!(found.login, Some(("ada@example.org".into(), "pw".into())));
        let found = mail("smtp+plain://127.0.0.1:2525/", None).unwrap().unwrap();
        assert_eq!((found.security, found.port, found.login), (SmtpSecurity::None, 2525, None));
        for (url, password, part) in [
            ("mail.example", None, "smtps://"),
            ("smtp://", None, "name of the mail server"),
            ("smtp://a:b@mail", None, "into a file"),
            ("smtp://ada@mail", None, "password is missing"),
            ("smtp://mail", Some("pw"), "no user"),
            ("smtp://mail:x", None, "port"),
            ("smtp+plain://ada@mail", Some("pw"), "without encryption"),
        ] {
            let refused = mail(url, password).unwrap_err();
            assert!(refused.contains(part), "{url}: {refused}");
        }
    }
}
