//! Key, origins and signing key: what pages connect with, and as whom.

use super::{Patient, Report};
use crate::origin::Origin;

/// What the package publishes as the default of `DIFFYNE_WS_KEY`: everybody knows it.
const PUBLISHED_KEY: &str = "d2c61c0f8393e8b5273e84879276cbe7";
/// A key that is shorter can be guessed.
const KEY_CHARACTERS_MIN: usize = 16;

pub(super) fn check(patient: &Patient, report: &mut Report) {
    keys(patient, report);
    origins(patient, report);
    local_port(patient, report);
    signing(patient, report);
    if patient.settings.debug {
        report.bad(
            "debug",
            "DIFFYNE_DEBUG is on: exceptions, files and lines reach every browser. Turn it off in production",
        );
    }
}

fn keys(patient: &Patient, report: &mut Report) {
    let keys = &patient.settings.keys;
    let make = "make one with `openssl rand -hex 16`, in DIFFYNE_WS_KEY";
    if keys.is_empty() {
        report.bad("key", format!("DIFFYNE_WS_KEY is not set, so any page may connect: {make}"));
    } else if keys.iter().any(|key| key == PUBLISHED_KEY) {
        report.bad("key", format!("DIFFYNE_WS_KEY is the default that the package publishes: {make}"));
    } else if keys.iter().any(|key| key.chars().count() < KEY_CHARACTERS_MIN) {
        report.note("key", format!("DIFFYNE_WS_KEY is shorter than {KEY_CHARACTERS_MIN} characters: {make}"));
    } else {
        report.well(
            "key",
            format!("{} in force", if keys.len() == 1 { "one".to_owned() } else { keys.len().to_string() }),
        );
    }
}

fn origins(patient: &Patient, report: &mut Report) {
    let settings = &patient.settings;
    if let Some(url) = settings.app_url.as_deref().filter(|url| Origin::parse(url).is_none()) {
        report.bad(
            "origins",
            format!("APP_URL={url} is no address of a page: write scheme, host and port, as https://shop.example"),
        );
    }
    if settings.origins.iter().any(|origin| origin == "*") {
        match &settings.app_url {
            Some(url) => report.note(
                "origins",
                format!(
                    "any page may connect; only those of {url}, by this scheme and port, and of the host and port that they \
                     connect to bring their cookies. List your own in DIFFYNE_WS_CORS_ORIGINS"
                ),
            ),
            None => report.bad(
                "origins",
                "any page may connect (DIFFYNE_WS_CORS_ORIGINS=*) and APP_URL is not set: behind a proxy that passes no Host on, \
                 and on another port than the socket's, users are guests. Set APP_URL to the page's scheme, host and port, and \
                 list your own origins",
            ),
        }
    } else {
        report.well("origins", settings.origins.join(", "));
    }
}

/// Laravel's own default names no port, and `php artisan serve` has one.
fn local_port(patient: &Patient, report: &mut Report) {
    let url = patient.settings.app_url.as_deref().unwrap_or_default().trim_end_matches('/');
    if matches!(url, "http://localhost" | "http://127.0.0.1") {
        report.note(
            "origins",
            format!("APP_URL={url} names no port: pages at another one are guests. For `php artisan serve` set APP_URL={url}:8000"),
        );
    }
}

fn signing(patient: &Patient, report: &mut Report) {
    match patient.settings.signing_keys.len() {
        0 => report.bad(
            "signing key",
            "neither DIFFYNE_SIGNING_KEY nor APP_KEY is set: logins over the socket do not reach the browser, and grants \
             cannot be given. Give the gateway the application's .env (--env-file)",
        ),
        1 => report.well("signing key", "it can be read"),
        more => report.well("signing key", format!("{more} can be read; the first one signs")),
    }
}
