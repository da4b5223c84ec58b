//! Checks the key, the origins and the signing key, on which the connections of pages depend.

use super::{Report, Target};
use crate::auth::authority::Origin;

/// The default of `DIFFYNE_WS_KEY` that the package publishes, so that everybody knows it.
const PUBLISHED_KEY: &str = "d2c61c0f8393e8b5273e84879276cbe7";
/// A shorter key can be guessed.
const KEY_CHARACTERS_MIN: usize = 16;

pub(super) fn check(target: &Target, report: &mut Report) {
    keys(target, report);
    origins(target, report);
    local_port(target, report);
    signing(target, report);
    if target.settings.debug {
        report.fail(
            "debug",
            "DIFFYNE_DEBUG is on: exceptions, files and lines reach every browser. Turn it off in production",
        );
    }
}

fn keys(target: &Target, report: &mut Report) {
    let keys = &target.settings.keys;
    let make = "make one with `openssl rand -hex 16`, in DIFFYNE_WS_KEY";
    if keys.is_empty() {
        report.fail("key", format!("DIFFYNE_WS_KEY is not set, so any page may connect: {make}"));
    } else if keys.iter().any(|key| key == PUBLISHED_KEY) {
        report.fail("key", format!("DIFFYNE_WS_KEY is the default that the package publishes: {make}"));
    } else if keys.iter().any(|key| key.chars().count() < KEY_CHARACTERS_MIN) {
        report.warn("key", format!("DIFFYNE_WS_KEY is shorter than {KEY_CHARACTERS_MIN} characters: {make}"));
    } else {
        report
            .ok("key", format!("{} in force", if keys.len() == 1 { "one".to_owned() } else { keys.len().to_string() }));
    }
}

fn origins(target: &Target, report: &mut Report) {
    let settings = &target.settings;
    if let Some(url) = settings.app_url.as_deref().filter(|url| Origin::parse(url).is_none()) {
        report.fail(
            "origins",
            format!("APP_URL={url} is not the address of a page: write its scheme, host and port, as in https://shop.example"),
        );
    }
    if settings.origins.iter().any(|origin| origin == "*") {
        match &settings.app_url {
            Some(url) => report.warn(
                "origins",
                format!(
                    "any page may connect; only those of {url}, by this scheme and port, and of the host and port that they \
                     connect to bring their cookies. List your own in DIFFYNE_WS_CORS_ORIGINS"
                ),
            ),
            None => report.fail(
                "origins",
                "any page may connect (DIFFYNE_WS_CORS_ORIGINS=*) and APP_URL is not set: behind a proxy that passes no Host on, \
                 and on another port than the socket's, users are guests. Set APP_URL to the page's scheme, host and port, and \
                 list your own origins",
            ),
        }
    } else {
        report.ok("origins", settings.origins.join(", "));
    }
}

/// Warns about Laravel's default `APP_URL`, which has no port, while `php artisan serve` uses one.
fn local_port(target: &Target, report: &mut Report) {
    let url = target.settings.app_url.as_deref().unwrap_or_default().trim_end_matches('/');
    if matches!(url, "http://localhost" | "http://127.0.0.1") {
        report.warn(
            "origins",
            format!("APP_URL={url} names no port: pages at another one are guests. For `php artisan serve` set APP_URL={url}:8000"),
        );
    }
}

fn signing(target: &Target, report: &mut Report) {
    match target.settings.signing_keys.len() {
        0 => report.fail(
            "signing key",
            "neither DIFFYNE_SIGNING_KEY nor APP_KEY is set: logins over the socket do not reach the browser, and grants \
             cannot be given. Give the gateway the application's .env (--env-file)",
        ),
        1 => report.ok("signing key", "it can be read"),
        more => report.ok("signing key", format!("{more} can be read; the first one signs")),
    }
}
