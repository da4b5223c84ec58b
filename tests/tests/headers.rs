//! What PHP and Laravel make of a browser's and a proxy's headers is what a component sees: 10 000 generated sets go
//! through a gateway, a worker and its PHP, and beside that through PHP's own server (`$_COOKIE`) and Laravel's own
//! request (`ip()`, `isSecure()`, `url()`). Where both differ on purpose, the table says so, and docs/security.md as well.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;

use base64::Engine as _;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::header_sets::{
    FOR, HOST, HeaderSet, MAPPED, NO_HOSTS, NOTHING, PROTO, ZONED, random_set, reported_sets,
};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::probe_call;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{PATIENCE, Process, wait_for_port};
use serde_json::{Value, json};

const SETS: usize = 10_000;
/// Threads that ask, on each side.
const ASKING: usize = 4;

/// What an application sees of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// `serialize($_COOKIE)`.
    cookies: String,
    address: String,
    secure: Option<bool>,
    url: String,
}

/// A difference that is intended.
struct IntendedDifference {
    /// As docs/security.md says it.
    why: &'static str,
    /// Of which part: `cookies`, `address`, `url`.
    part: &'static str,
    applies: fn(&HeaderSet) -> bool,
}

const INTENDED: [IntendedDifference; 7] = [
    IntendedDifference {
        why: "a cookie whose name is no UTF-8 is left out",
        part: "cookies",
        applies: |set| {
            let names = set.cookies.iter().flat_map(|line| line.split(|byte| *byte == b';'));
            names
                .map(|pair| pair.split(|byte| *byte == b'=').next().unwrap())
                .any(|name| std::str::from_utf8(name).is_err())
        },
    },
    IntendedDifference {
        why: "what is no address ends the way through X-Forwarded-For; Laravel leaves it out, and believes what stands before it",
        part: "address",
        applies: |set| set.has_entry(FOR, &NOTHING.map(str::trim_ascii)),
    },
    IntendedDifference {
        why: "an IPv4 address in IPv6 form is the IPv4 address",
        part: "address",
        applies: |set| set.has_entry(FOR, &MAPPED),
    },
    IntendedDifference {
        why: "an address with a zone is that address without it; Laravel leaves it out",
        part: "address",
        applies: |set| set.has_entry(FOR, &ZONED),
    },
    IntendedDifference {
        why: "of several values of X-Forwarded-Proto or X-Forwarded-Host the last counts, which the nearest proxy wrote; in Laravel the first",
        part: "url",
        applies: |set| set.entries(PROTO).len() > 1 || set.entries(HOST).len() > 1,
    },
    IntendedDifference {
        why: "X-Forwarded-Proto is https or wss; Laravel takes on, ssl and 1 for https, and wss for http",
        part: "url",
        applies: |set| set.has_entry(PROTO, &["on", "ssl", "1", "wss"]),
    },
    IntendedDifference {
        why: "a host that is none is not handed on: the next that is known takes its place; in Laravel the request fails",
        part: "url",
        applies: |set| NO_HOSTS.contains(&set.host.as_str()) || set.has_entry(HOST, &NO_HOSTS),
    },
];

/// Sends one request on a connection that stays, or is made anew each time, and reads the answer's body.
struct HttpConnection {
    port: u16,
    line: Option<BufReader<TcpStream>>,
}

impl HttpConnection {
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut line = if let Some(line) = self.line.take() {
            line
        } else {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        };
        line.get_mut().write_all(request)?;
        let (mut length, mut stays, mut head) = (None, true, String::new());
        loop {
            let start = head.len();
            line.read_line(&mut head)?;
            let header = head[start..].to_ascii_lowercase();
            if header.trim().is_empty() {
                break;
            }
            length =
                header.strip_prefix("content-length:").map(|text| text.trim().parse::<usize>()).transpose()?.or(length);
            stays &= header.trim() != "connection: close";
        }
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head} for {}", String::from_utf8_lossy(request));
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                line.read_exact(&mut body)?;
            }
            None => _ = line.read_to_end(&mut body)?,
        }
        self.line = (stays && length.is_some()).then_some(line);
        Ok(body)
    }
}

/// Asks for every set, on several connections.
fn each<T: Send>(
    sets: &[HeaderSet],
    port: u16,
    ask: impl Fn(&mut HttpConnection, &HeaderSet) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let parts = sets.chunks(sets.len().div_ceil(ASKING));
        let threads: Vec<_> = parts
            .map(|part| {
                let ask = &ask;
                scope.spawn(move || {
                    let mut connection = HttpConnection { port, line: None };
                    part.iter().map(|set| ask(&mut connection, set)).collect::<anyhow::Result<Vec<T>>>()
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().unwrap()?);
        }
        Ok(all)
    })
}

/// Through a gateway, a worker and its PHP.
fn ours(laravel: &Laravel, sets: &[HeaderSet]) -> anyhow::Result<Vec<Seen>> {
    let deployment = laravel.deploy(Runtime::FastPath, 1)?;
    let cluster = Cluster::start(deployment.shape.gateway("--trusted-proxies", "127.0.0.1,10.0.0.0/8"))?;
    let body = probe_call("diffyne-probe", "raw", json!([])).to_string();
    each(sets, cluster.gateways[0].port, |connection, set| {
        let mut request = b"POST /_diffyne/update HTTP/1.1\r\n".to_vec();
        write!(request, "Host: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", set.host, body.len())?;
        for line in &set.cookies {
            request.extend([b"Cookie: ", line.as_slice(), b"\r\n"].concat());
        }
        for (name, value) in &set.headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        request.extend([b"\r\n", body.as_bytes()].concat());
        let answer = ServerMessage::from_body(&String::from_utf8(connection.ask(&request)?)?)?;
        let state = answer.state();
        anyhow::ensure!(state["text"].is_string(), "{answer}");
        Ok(seen(state["text"].as_str().unwrap(), &state["seen"]))
    })
}

fn seen(cookies: &str, identity: &Value) -> Seen {
    let text = |name: &str| identity[name].as_str().unwrap_or_default().to_owned();
    let cookies = base64::engine::general_purpose::STANDARD.decode(cookies).unwrap();
    let address = text("ip");
    Seen {
        // Every byte as a character.
        cookies: cookies.into_iter().map(char::from).collect(),
        // Written by its own rules; what is no address stays what it is.
        address: address.parse::<IpAddr>().map_or(address, |address| address.to_string()),
        secure: identity["secure"].as_bool(),
        url: text("url"),
    }
}

/// Through PHP's own server and Laravel's own request.
fn theirs(laravel: &Laravel, sets: &[HeaderSet]) -> anyhow::Result<Vec<Seen>> {
    std::fs::write(laravel.path("cookies.php"), "<?php echo base64_encode(serialize($_COOKIE));")?;
    let [port] = free_ports()?;
    let _server = Process::start_parent("php-cookies", &laravel.path(""), &PathBuf::from("chroot"), |command| {
        command.arg(laravel.path("").ancestors().nth(2).unwrap()).args([
            "env",
            "PHP_CLI_SERVER_WORKERS=4",
            "php8.4",
            "-S",
        ]);
        command.args([&format!("127.0.0.1:{port}"), &format!("{}/cookies.php", laravel.directory)]);
    })?;
    wait_for_port(port)?;
    let cookies = each(sets, port, |connection, set| {
        // Several headers are one, as in HTTP/2.
        let line = set.cookies.join(&b"; "[..]);
        let request = [b"GET / HTTP/1.1\r\nHost: x\r\nCookie: ", line.as_slice(), b"\r\n\r\n"].concat();
        Ok(String::from_utf8(connection.ask(&request)?)?)
    })?;
    let servers: Vec<Value> = sets.iter().map(server_variables).collect();
    std::fs::write(laravel.path("servers.json"), serde_json::to_vec(&servers)?)?;
    let script = "<?php chdir(__DIR__); require 'vendor/autoload.php'; use Illuminate\\Http\\Request; \
        Request::setTrustedProxies(['127.0.0.1', '10.0.0.0/8'], Request::HEADER_X_FORWARDED_FOR | Request::HEADER_X_FORWARDED_HOST | Request::HEADER_X_FORWARDED_PROTO); \
        echo json_encode(array_map(function ($server) { $request = new Request([], [], [], [], [], $server); \
        try { $urls = new Illuminate\\Routing\\UrlGenerator(new Illuminate\\Routing\\RouteCollection(), $request); \
        return ['ip' => $request->ip(), 'secure' => $request->isSecure(), 'url' => $urls->to('/reset')]; } \
        catch (Throwable $error) { return ['ip' => $request->ip(), 'secure' => $request->isSecure(), 'url' => $error::class]; } }, \
        json_decode(file_get_contents('servers.json'), true)));";
    std::fs::write(laravel.path("identity.php"), script)?;
    let text = laravel.php(&[&format!("{}/identity.php", laravel.directory)])?;
    let identities: Vec<Value> = serde_json::from_str(&text)?;
    Ok(cookies.iter().zip(&identities).map(|(cookies, identity)| seen(cookies, identity)).collect())
}

/// What a web server tells PHP.
fn server_variables(set: &HeaderSet) -> Value {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &set.headers {
        let name = format!("HTTP_{}", name.to_uppercase().replace('-', "_"));
        variables.entry(name).and_modify(|all| all.extend([", ", value.as_str()])).or_insert_with(|| value.clone());
    }
    variables.insert("HTTP_HOST".to_owned(), set.host.clone());
    for (name, value) in
        [("REMOTE_ADDR", "127.0.0.1"), ("REQUEST_URI", "/"), ("SERVER_PORT", "80"), ("SERVER_NAME", "localhost")]
    {
        variables.insert(name.to_owned(), value.to_owned());
    }
    json!(variables)
}

#[test]
fn ten_thousand_header_sets_mean_the_same_as_in_php_and_laravel_but_for_intended_differences() -> anyhow::Result<()> {
    let laravel = Laravel::that_trusts_every_proxy()?;
    // Cookies as they came: nothing decrypts them.
    let provider = "class AppServiceProvider extends \\Illuminate\\Support\\ServiceProvider {";
    let register = "public function register(): void { config(['diffyne.middleware' => []]); }";
    laravel.change("app/Providers/AppServiceProvider.php", provider, &format!("{provider} {register}"))?;
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let sets: Vec<HeaderSet> =
        reported_sets().into_iter().chain(std::iter::repeat_with(|| random_set(&mut random))).take(SETS).collect();
    let (ours, theirs) = (ours(&laravel, &sets)?, theirs(&laravel, &sets)?);
    assert!(ours[0].cookies.contains("s:14:\"__Host-session\";s:6:\"victim\""), "{:?}", ours[0]);
    assert!(ours[1].cookies.contains("\"victim\"") && !ours[1].cookies.contains("attacker"), "{:?}", ours[1]);
    let addresses: Vec<&str> = ours[2..6].iter().map(|seen| seen.address.as_str()).collect();
    assert_eq!(addresses, ["203.0.113.5", "2001:db8::1", "2001:db8::1", "203.0.113.5"]);

    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unintended = Vec::new();
    for ((set, ours), theirs) in sets.iter().zip(&ours).zip(&theirs) {
        for (part, differs) in [
            ("cookies", ours.cookies != theirs.cookies),
            ("address", ours.address != theirs.address),
            ("url", (ours.secure, &ours.url) != (theirs.secure, &theirs.url)),
        ] {
            if !differs {
                continue;
            }
            match INTENDED.iter().find(|difference| difference.part == part && (difference.applies)(set)) {
                Some(difference) => *counted.entry(difference.why).or_default() += 1,
                None => unintended.push(format!("{part}: {set:?}\n  here  {ours:?}\n  there {theirs:?}")),
            }
        }
    }
    assert!(
        unintended.is_empty(),
        "SEED={seed}, {} differences, {}",
        unintended.len(),
        unintended[..unintended.len().min(5)].join("\n")
    );
    for difference in &INTENDED {
        assert!(counted.contains_key(difference.why), "SEED={seed}: no set shows that {}", difference.why);
    }
    let page = std::fs::read_to_string(diffyne_tests::process::project().join("docs/security.md"))?;
    let words = |text: &str| text.split_whitespace().map(|word| word.replace('`', "")).collect::<Vec<_>>().join(" ");
    for difference in &INTENDED {
        assert!(words(&page).contains(&words(difference.why)), "docs/security.md does not say that {}", difference.why);
    }
    Ok(())
}
