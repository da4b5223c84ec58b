//! Checks whether Redis is reachable, keeps its data, and is used with the same key names as Laravel.

use diffyne_shared::bus::{Inspection, Unusable};
use diffyne_shared::settings::mask_url;

use super::{Report, Target};

pub(super) async fn check(target: &Target, report: &mut Report) {
    let redis = &target.settings.redis;
    let Some(url) = &redis.url else {
        report.warn("redis", "DIFFYNE_REDIS_URL is not set: this gateway is alone, and its history ends with it");
        return;
    };
    match Inspection::of(url, redis).await {
        Err(error) => {
            report.fail("redis", format!("{} does not answer: {error}{}", mask_url(url), remedy(url, &error)));
            return;
        }
        Ok(found) => server(url, &found, report),
    }
    prefix(target, report);
}

/// What to look at, by the words of an error.
fn remedy(url: &str, error: &str) -> &'static str {
    let is_tls = url.starts_with("rediss");
    if error.contains("certificate") {
        ". DIFFYNE_REDIS_CA names the authority that signed it, and the host in DIFFYNE_REDIS_URL is one that it is for"
    } else if error.contains("uthentication") || error.contains("NOAUTH") || error.contains("WRONGPASS") {
        ". User and password stand in DIFFYNE_REDIS_URL: redis://user:password@host"
    } else if is_tls {
        ". Does it speak TLS? Without it, DIFFYNE_REDIS_URL begins with redis://"
    } else if error.contains("reset") {
        ". Does it speak TLS? Then DIFFYNE_REDIS_URL begins with rediss://"
    } else {
        ". It is what DIFFYNE_REDIS_URL names"
    }
}

/// Why gateways and workers cannot use a server that answers, and what to look at.
fn why_unusable(unusable: &Unusable) -> String {
    match unusable {
        Unusable::Forbidden(error) => format!(
            "its user may not do what gateways and workers do: {error}. It needs the keys and channels of DIFFYNE_REDIS_PREFIX: docs/operations.md#redis"
        ),
        Unusable::Refused(error) => {
            let remedy = if error.contains("ReadOnly") {
                ". It is a replica: DIFFYNE_REDIS_URL has to name the primary, or Sentinels that know it (redis+sentinel://)"
            } else if error.contains("MISCONF") {
                ". It cannot save its data (is a disk full?): its log says why"
            } else if error.contains("NOREPLICAS") {
                ". Fewer replicas follow it than its min-replicas-to-write asks for"
            } else {
                ""
            };
            format!("does not do what gateways and workers ask of it: {error}{remedy}")
        }
    }
}

fn server(url: &str, found: &Inspection, report: &mut Report) {
    if let Some(unusable) = &found.unusable {
        report.fail("redis", format!("{} answers, and {}", mask_url(url), why_unusable(unusable)));
        return;
    }
    report.ok("redis", format!("{} answers, version {}", mask_url(url), found.version));
    match found.eviction.as_deref() {
        Some("noeviction") => report.ok("eviction", "noeviction"),
        Some(policy) if policy.starts_with("volatile-") => report.warn(
            "eviction",
            format!("{policy}: when memory is short, marks against doubled broadcasts go first. noeviction is better"),
        ),
        Some(policy) => report.fail(
            "eviction",
            format!("{policy}: Redis may drop the history and the registry of workers. Set maxmemory-policy noeviction, or use a server apart from the cache"),
        ),
        None => report.warn("eviction", "the server does not tell its maxmemory-policy; it should be noeviction"),
    }
    match found.persistent {
        Some(true) => report.ok("persistence", "on: a restart of Redis keeps the history"),
        Some(false) => report.warn(
            "persistence",
            "off: after a restart of Redis every page fetches itself anew (appendonly yes avoids it)",
        ),
        None => {}
    }
}

/// Checks the prefix. An application that publishes by itself writes to the key that Laravel makes of
/// `{diffyne}:ingress`.
fn prefix(target: &Target, report: &mut Report) {
    let ours = target.settings.redis.prefix.as_str();
    let expected: Vec<String> = match target.env("REDIS_PREFIX") {
        Some(prefix) => vec![prefix.to_owned()],
        None if target.environment.is_empty() => return,
        None => {
            let name = target.env("APP_NAME").unwrap_or("Laravel");
            // Laravel 12 and 13 use the first, older releases the second.
            vec![format!("{}-database-", slug(name, '-')), format!("{}_database_", slug(name, '_'))]
        }
    };
    if expected.iter().any(|prefix| prefix == ours) {
        report.ok("prefix", format!("`{ours}`, as Laravel's"));
    } else {
        let expected = expected.join("` or `");
        report.warn(
            "prefix",
            format!("DIFFYNE_REDIS_PREFIX is `{ours}` and Laravel's is `{expected}`: set it so if the application publishes by Redis::rpush"),
        );
    }
}

/// Implements Laravel's `Str::slug` for names in ASCII.
fn slug(name: &str, separator: char) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(&separator.to_string())
}

#[cfg(test)]
mod tests {
    use super::{remedy, slug};

    #[test]
    fn each_error_of_a_connection_comes_with_what_to_look_at() {
        for (url, error, part) in [
            ("rediss://h", "invalid peer certificate: UnknownIssuer", "DIFFYNE_REDIS_CA"),
            ("redis://:x@h", "Password authentication failed - AuthenticationFailed", "User and password"),
            ("rediss://h", "timed out", "begins with redis://"),
            ("redis://h", "Connection reset by peer (os error 104)", "begins with rediss://"),
            ("redis+sentinel://h/m", "Connection refused", "DIFFYNE_REDIS_URL names"),
        ] {
            assert!(remedy(url, error).contains(part), "{url} {error}");
        }
    }

    #[test]
    fn an_application_name_becomes_the_same_prefix_as_in_laravel() {
        assert_eq!(slug("Laravel", '_'), "laravel");
        assert_eq!(slug("My Shop & Co.", '-'), "my-shop-co");
    }
}
