//! Random headers as browsers and proxies send them, the odd and the wrong ones included.

/// The header with the address of the client.
pub const FOR: &str = "X-Forwarded-For";
/// The header with the host that the client has asked for.
pub const HOST: &str = "X-Forwarded-Host";
/// The header with the scheme of the client.
pub const PROTO: &str = "X-Forwarded-Proto";

/// Entries of `X-Forwarded-For` that are addresses.
const PLAIN: [&str; 12] = [
    "203.0.113.5",
    "203.0.113.5:4711",
    "198.51.100.7:1",
    "2001:db8::1",
    "[2001:db8::1]",
    "[2001:db8::1]:443",
    "2001:DB8:0:0::7",
    "10.0.0.7",
    "10.1.2.3:80",
    "127.0.0.1",
    "6.6.6.6",
    "",
];
/// Entries of `X-Forwarded-For` that are no addresses.
pub const NOTHING: [&str; 11] = [
    "unknown",
    "_hidden",
    "unix:",
    "garbage",
    "01.2.3.4",
    "1.2.3",
    "1.2.3.4:x",
    "[2001:db8::1",
    "[2001:db8::1]x",
    "\u{a0}6.6.6.6",
    "\"6.6.6.6\"",
];
/// IPv4 addresses in IPv6 form.
pub const MAPPED: [&str; 2] = ["::ffff:203.0.113.9", "[::ffff:203.0.113.9]:80"];
/// Addresses with a zone.
pub const ZONED: [&str; 2] = ["fe80::1%eth0", "[fe80::1%eth0]:443"];
const HOSTS: [&str; 10] = [
    "shop.test",
    "Shop.Test",
    "shop.test:8443",
    "shop.test:80",
    "shop.test:443",
    "a_b.shop.test",
    "[2001:db8::1]:81",
    "[::1]",
    "192.0.2.1:8080",
    "shop.test.",
];
/// Values that are no hosts.
pub const NO_HOSTS: [&str; 7] = ["ev/il", "a b", "a..b", "shop.test:port", "user@shop.test", "<script>", "\u{e4}.test"];

/// What a browser and its proxies send.
#[derive(Debug, Clone, Default)]
pub struct HeaderSet {
    /// The value of `Host`.
    pub host: String,
    /// The values of `Cookie`.
    pub cookies: Vec<Vec<u8>>,
    /// The other headers.
    pub headers: Vec<(&'static str, String)>,
}

impl HeaderSet {
    /// The entries of all headers of this name.
    pub fn entries(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(other, _)| *other == name);
        values.flat_map(|(_, value)| value.split(',')).map(str::trim_ascii).filter(|entry| !entry.is_empty()).collect()
    }

    /// Whether one of them is among these.
    pub fn has_entry(&self, name: &str, among: &[&str]) -> bool {
        self.entries(name).iter().any(|entry| among.contains(entry))
    }
}

fn pick<'a>(random: &mut fastrand::Rng, from: &[&'a str]) -> &'a str {
    from[random.usize(..from.len())]
}

fn odd_text(random: &mut fastrand::Rng, alphabet: &[&[u8]], most: usize) -> Vec<u8> {
    (0..random.usize(..=most)).flat_map(|_| alphabet[random.usize(..alphabet.len())].to_vec()).collect()
}

fn random_cookies(random: &mut fastrand::Rng) -> Vec<u8> {
    const NAMES: [&str; 26] = [
        "a",
        "b",
        "session",
        "__Host-session",
        "__Secure-id",
        "..Host-session",
        "_ Host-session",
        ". Secure-id",
        "a.b",
        "a b",
        "a_b",
        "a[x]",
        "a[]",
        "a[x][y]",
        "a[x][]",
        "a[",
        "[a]",
        "a]b",
        "a[b]c",
        "12",
        "-1",
        "012",
        "",
        "\u{a0}session",
        "\u{e4}",
        "%61",
    ];
    const ALPHABET: [&[u8]; 24] = [
        b"a",
        b"b",
        b"A",
        b"0",
        b"1",
        b"_",
        b"-",
        b".",
        b"[",
        b"]",
        b"%",
        b"%41",
        b"%zz",
        b"%5B",
        b"+",
        b"\"",
        b" ",
        b"\t",
        b",",
        b"&",
        b"\\",
        "\u{a0}".as_bytes(),
        "\u{e4}".as_bytes(),
        b"\xff",
    ];
    let mut line = Vec::new();
    for index in 0..random.usize(1..7) {
        if index > 0 {
            line.extend_from_slice(pick(random, &["; ", "; ", "; ", ";", ";\t", " ; ", ";;", ";  "]).as_bytes());
        }
        if random.u8(..4) > 0 {
            line.extend_from_slice(pick(random, &NAMES).as_bytes());
        } else {
            line.extend(odd_text(random, &ALPHABET, 5));
        }
        if random.u8(..10) > 0 {
            line.push(b'=');
            let mut value = odd_text(random, &ALPHABET, 6);
            if random.u8(..8) == 0 {
                value.extend_from_slice(b"=x=");
            }
            line.extend(value);
        }
    }
    // Blanks around a header's value are not part of it.
    line.trim_ascii().to_vec()
}

/// A random set.
pub fn random_set(random: &mut fastrand::Rng) -> HeaderSet {
    let mut set = HeaderSet { host: pick(random, &HOSTS).to_owned(), ..HeaderSet::default() };
    if random.u8(..16) == 0 {
        set.host = pick(random, &NO_HOSTS).to_owned();
    }
    for _ in 0..random.usize(..3) {
        set.cookies.push(random_cookies(random));
    }
    set.cookies.retain(|line| !line.is_empty());
    for _ in 0..random.usize(..3) {
        let entries: Vec<&str> = (0..random.usize(..4))
            .map(|_| match random.u8(..20) {
                0..=15 => pick(random, &PLAIN),
                16 | 17 => pick(random, &NOTHING),
                18 => pick(random, &MAPPED),
                _ => pick(random, &ZONED),
            })
            .collect();
        set.headers.push((FOR, entries.join(pick(random, &[",", ", ", " , "])).trim_ascii().to_owned()));
    }
    let several = |random: &mut fastrand::Rng| [0, 0, 1, 1, 1, 1, 1, 2][random.usize(..8)];
    for _ in 0..several(random) {
        let host = if random.u8(..12) == 0 { pick(random, &NO_HOSTS) } else { pick(random, &HOSTS) };
        set.headers.push((HOST, host.to_owned()));
    }
    for _ in 0..several(random) {
        set.headers.push((
            PROTO,
            pick(
                random,
                &["https", "http", "HTTPS", "https", "wss", "ws", "on", "ssl", "1", "ftp", "https,", "https, http"],
            )
            .to_owned(),
        ));
    }
    for (name, value) in [
        ("Forwarded", "for=6.6.6.6;host=evil.example;proto=https"),
        ("X-Forwarded-Port", "81"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Real-IP", "6.6.6.6"),
    ] {
        if random.bool() {
            set.headers.push((name, value.to_owned()));
        }
    }
    set
}

/// The cases that were reported.
pub fn reported_sets() -> Vec<HeaderSet> {
    let cookies = |line: &str| HeaderSet { host: "shop.test".to_owned(), cookies: vec![line.into()], headers: Vec::new() };
    let header = |name, value: &str| HeaderSet {
        host: "shop.test".to_owned(),
        cookies: Vec::new(),
        headers: vec![(name, value.to_owned())],
    };
    vec![
        cookies("__Host-session=victim; \u{a0}__Host-session=attacker"),
        cookies("session=victim; session=attacker"),
        header(FOR, "203.0.113.5:4711"),
        header(FOR, "[2001:db8::1]"),
        header(FOR, "[2001:db8::1]:4711"),
        header(FOR, "203.0.113.5,"),
    ]
}
