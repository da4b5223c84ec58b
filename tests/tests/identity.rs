//! Who somebody is: "I got a reset link to another host", "I am locked out for what strangers do", "I am logged out on
//! half of my pages", "our logs hold the key".

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::http::{HttpResponse, handshake, http};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{PLAIN, call_for_text, call_probe, probe_call};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{PATIENCE, eventually, project};
use serde_json::{Value, json};

const SITES: [(&str, &str); 4] =
    [("diffyne.conf", "http"), ("application.conf", "http"), ("locations.conf", "http"), ("tls.conf", "https")];
/// What a client sends to be somebody else, somewhere else.
const LIES: [(&str, &str); 11] = [
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Port", "81"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Server", "evil.example"),
    ("X-Forwarded-Scheme", "gopher"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-By", "evil.example"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6;host=evil.example;proto=https"),
];

/// A request for `shop.test` with these headers.
fn post(port: u16, headers: &[(&str, &str)], body: &str) -> anyhow::Result<HttpResponse> {
    post_to(port, &[&[("Host", "shop.test")], headers].concat(), body)
}

/// A request with these headers, `Host` among them.
fn post_to(port: u16, headers: &[(&str, &str)], body: &str) -> anyhow::Result<HttpResponse> {
    let lines: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let length = body.len();
    http(
        port,
        &format!(
            "POST /_diffyne/update HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{lines}\r\n{body}"
        ),
    )
}

/// The status of a handshake.
fn knock(port: u16, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(handshake(path, headers).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.split(' ').nth(1).unwrap_or_default().parse()?)
}

/// A call with which a component that needs nothing of the bridge tells who it thinks that its user is.
fn identity_call() -> Value {
    call(PLAIN, "diffyne-plain", "identity", json!([]), json!({"text": ""}), "r")
}

/// The identity that the component tells.
fn identity_in(reply: &ServerMessage) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(reply.state()["text"].as_str().unwrap_or_else(|| panic!("{reply}")))?)
}

async fn ask_over_socket(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Value> {
    let mut client = Client::connect_with(url, headers).await?;
    identity_in(&client.call(identity_call()).await?)
}

for_runtimes!(no_header_of_a_client_poisons_a_link_or_an_address_through_any_nginx_file_that_we_ship: fast_path = FastPath, kernel = Kernel,
    http = Http, http_without = HttpWithoutBridge, fastcgi = FastCgi, fastcgi_without = FastCgiWithoutBridge);
async fn no_header_of_a_client_poisons_a_link_or_an_address_through_any_nginx_file_that_we_ship(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let laravel = Laravel::that_trusts_every_proxy()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    for (file, scheme) in SITES {
        let [port] = free_ports()?;
        let _nginx = cluster.run_nginx(&cluster.shipped_site(file, port)?, port)?;
        let answer = post(port, &LIES, &identity_call().to_string())?;
        let by_ajax = identity_in(&answer.message()?)?;
        let lies = [&LIES[..], &[("Host", "shop.test")]].concat();
        let by_socket = ask_over_socket(&format!("ws://127.0.0.1:{port}/diffyne"), &lies).await?;
        for seen in [by_ajax, by_socket] {
            assert_eq!((&seen["ip"], &seen["ips"]), (&json!("127.0.0.1"), &json!(["127.0.0.1"])), "{file}: {seen}");
            assert_eq!(
                (&seen["host"], &seen["secure"]),
                (&json!("shop.test"), &json!(scheme == "https")),
                "{file}: {seen}"
            );
            assert_eq!(seen["url"], format!("{scheme}://shop.test/reset"), "{file}: {seen}");
            // Without the bridge, a worker's own headers are all that an application behind HTTP has.
            let own = json!(["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
            assert_eq!(
                seen["forwarded"],
                if runtime == Runtime::HttpWithoutBridge { own } else { json!([]) },
                "{file}: {seen}"
            );
        }
    }
    Ok(())
}

for_runtimes!(an_application_sees_what_a_trusted_proxy_says_whatever_proxies_it_trusts_itself: fast_path = FastPath, kernel = Kernel, http = Http,
    fastcgi = FastCgi, fastcgi_without = FastCgiWithoutBridge);
async fn an_application_sees_what_a_trusted_proxy_says_whatever_proxies_it_trusts_itself(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let said = [
        ("Host", "inner:6001"),
        ("X-Forwarded-For", "6.6.6.6, [2001:db8::7]:4711,"),
        ("X-Forwarded-Host", "shop.test:8443"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "81"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "for=6.6.6.6;host=evil.example;proto=http"),
    ];
    for laravel in [Laravel::new()?, Laravel::that_trusts_every_proxy()?] {
        let deployment = laravel.deploy(runtime, 2)?;
        let cluster = Cluster::start(deployment.shape.clone())?;
        let seen = ask_over_socket(&cluster.url(0), &said).await?;
        let expected = json!({"ip": "2001:db8::7", "ips": ["2001:db8::7"], "host": "shop.test", "port": 8443, "secure": true,
            "url": "https://shop.test:8443/reset", "forwarded": []});
        assert_eq!(seen, expected);
        // The page is at APP_URL: that is where the user is, whatever the proxy makes of Host.
        drop(cluster);
        let cluster = Cluster::start(deployment.shape.clone().gateway("--app-url", "https://shop.test"))?;
        let page = [("Host", "diffyne_websocket"), ("Origin", "https://shop.test")];
        let seen = ask_over_socket(&cluster.url(0), &page).await?;
        assert_eq!((&seen["url"], &seen["secure"]), (&json!("https://shop.test/reset"), &json!(true)), "{seen}");
        drop(cluster);
        // Nobody is trusted.
        let cluster = Cluster::start(deployment.shape.clone().gateway("--trusted-proxies", "none"))?;
        let seen = ask_over_socket(&cluster.url(0), &said).await?;
        let expected = json!({"ip": "127.0.0.1", "ips": ["127.0.0.1"], "host": "inner", "port": 6001, "secure": false,
            "url": "http://inner:6001/reset", "forwarded": []});
        assert_eq!(seen, expected);
    }
    Ok(())
}

for_runtimes!(addresses_are_made_for_the_page_where_it_may_act_as_its_user: fast_path = FastPath, kernel = Kernel, http = Http,
    http_without = HttpWithoutBridge, fastcgi = FastCgi, fastcgi_without = FastCgiWithoutBridge);
async fn addresses_are_made_for_the_page_where_it_may_act_as_its_user(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::that_trusts_every_proxy()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let listed = "*,http://pages.test:8000,https://*.pages.test";
    let shape = deployment.shape.clone().gateway("--ws-cors-origins", listed);
    let cluster = Cluster::start(shape.gateway("--app-url", "https://shop.test"))?;
    let (port, socket) = (cluster.gateways[0].port, cluster.gateways[0].port.to_string());
    for (origin, expected) in [
        ("http://pages.test:8000", "http://pages.test:8000"),
        ("https://a.pages.test", "https://a.pages.test"),
        ("https://shop.test", "https://shop.test"),
        // These act as guests: the address is the gateway's.
        ("http://pages.test:8001", "http://shop.test"),
        ("https://evil.test", "http://shop.test"),
        ("null", "http://shop.test"),
    ] {
        let host = ("Host", "shop.test:6001");
        let by_socket = ask_over_socket(&format!("ws://127.0.0.1:{socket}/"), &[host, ("Origin", origin)]).await?;
        let body = identity_call().to_string();
        let by_ajax = identity_in(&post_to(port, &[host, ("Origin", origin)], &body)?.message()?)?;
        for (how, seen) in [("socket", by_socket), ("AJAX", by_ajax)] {
            let url = if expected == "http://shop.test" { "http://shop.test:6001" } else { expected };
            assert_eq!(seen["url"], format!("{url}/reset"), "{origin} by {how}: {seen}");
            assert_eq!(seen["secure"], expected.starts_with("https"), "{origin} by {how}: {seen}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_by_address_apply_to_each_client_however_the_proxy_writes_addresses() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--max-connections-per-address", "1"))?;
    let mut held = Vec::new();
    for forwarded in [
        "203.0.113.5:4711",
        "203.0.113.6,",
        "[2001:db8:0:1::1]:443",
        "[2001:db8:0:2::1]",
        "2001:db8:0:3::1",
        "fe80::1%eth0",
        "6.6.6.6, 203.0.113.7:80, 127.0.0.1:9",
    ] {
        held.push(Client::connect_with(&cluster.url(0), &[("X-Forwarded-For", forwarded)]).await?);
        assert_eq!(knock(cluster.gateways[0].port, "/", &[("X-Forwarded-For", forwarded)])?, 429, "{forwarded}");
    }
    // The proxy's own address was nobody's.
    held.push(Client::connect(&cluster.url(0)).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_scheme_or_port_is_a_guest_until_the_settings_name_it() -> anyhow::Result<()> {
    let start = |flags: &[(&str, &str)]| {
        Cluster::start(flags.iter().fold(Shape::new(1, 1), |shape, (flag, value)| shape.gateway(flag, value)))
    };
    let (open, app, listed) = (
        start(&[])?,
        start(&[("--app-url", "http://shop.test:8000")])?,
        start(&[("--ws-cors-origins", "http://shop.test:8000")])?,
    );
    let https = ("X-Forwarded-Proto", "https");
    let page = |cluster: &Cluster, origin: &str, host: &str, more: &[(&str, &str)]| {
        let headers = [&[("Origin", origin), ("Host", host), ("Cookie", "session=ada")], more].concat();
        let before = cluster.gateways[0].metric("diffyne_gateway_guest_handshakes_total").unwrap();
        assert_eq!(knock(cluster.gateways[0].port, "/", &headers).unwrap(), 101, "{origin}: served in any case");
        let after = cluster.gateways[0].metric("diffyne_gateway_guest_handshakes_total").unwrap();
        if after - before > 0.5 { "guest" } else { "user" }
    };
    for (cluster, origin, host, more, expected) in [
        (&open, "http://shop.test", "shop.test", &[https][..], "guest"),
        (&open, "https://shop.test", "shop.test", &[https], "user"),
        (&open, "http://shop.test", "shop.test", &[], "user"),
        (&open, "http://shop.test:6001", "shop.test:6001", &[], "user"),
        (&open, "http://shop.test:8000", "shop.test:6001", &[], "guest"),
        (&open, "https://shop.test:8443", "shop.test", &[https], "guest"),
        (&app, "http://shop.test:8000", "shop.test:6001", &[], "user"),
        (&app, "http://shop.test:8001", "shop.test:6001", &[], "guest"),
        (&app, "https://shop.test:8000", "shop.test:8000", &[], "guest"),
        (&listed, "http://shop.test:8000", "shop.test:6001", &[], "user"),
    ] {
        assert_eq!(page(cluster, origin, host, more), expected, "{origin} at {host}, {more:?}");
    }
    let log = open.gateways[0].process.output();
    assert!(log.contains("a page is served as a guest") && log.contains("set APP_URL to this origin"), "{log}");
    Ok(())
}

for_runtimes!(a_cookie_that_an_answer_deletes_is_gone_for_the_next_call: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_cookie_that_an_answer_deletes_is_gone_for_the_next_call(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let answer =
        post(cluster.gateways[0].port, &[], &probe_call("diffyne-probe", "flashErrors", json!([])).to_string())?;
    let cookie = answer.cookies();
    let mut client = Client::connect_with(&cluster.url(0), &[("Cookie", &cookie)]).await?;
    let mut theme = async |method: &str| -> anyhow::Result<String> {
        call_probe(&mut client, method, json!([])).await?;
        call_for_text(&mut client, "readTheme", json!([])).await
    };
    assert_eq!(theme("look").await?, "dark", "the handshake brought it: {cookie}");
    assert_eq!(theme("forgetTheme").await?, "none");
    assert_eq!(theme("flashErrors").await?, "dark", "and it may be set anew");
    Ok(())
}

#[test]
fn no_log_of_nginx_holds_the_websocket_key() -> anyhow::Result<()> {
    let key = "c0ffee-the-key-of-the-page";
    let mut cluster = Cluster::start(Shape::new(1, 1).gateway("--ws-key", key))?;
    let port_of_gateway = cluster.gateways[0].port;
    let mut running = Vec::new();
    for (file, _) in SITES {
        let [port] = free_ports()?;
        running.push((file, port, cluster.run_nginx(&cluster.shipped_site(file, port)?, port)?));
    }
    let path = format!("/diffyne?key={key}");
    for (file, port, _) in &running {
        assert_eq!(knock(*port, &path, &[])?, 101, "{file}");
        assert_eq!(knock(*port, &format!("{path}x"), &[])?, 401, "{file}");
    }
    // What nginx says of a gateway that is gone it says with the whole request.
    let mut gateway = cluster.gateways.remove(0);
    gateway.process.kill()?;
    for (file, port, nginx) in &running {
        assert_eq!(knock(*port, &path, &[])?, 502, "{file}");
        if !["application.conf", "locations.conf"].contains(file) {
            assert_eq!(knock(*port, &format!("/?key={key}"), &[])?, 502, "{file}");
        }
        let folder = cluster.directory.path().join(format!("nginx-{port}"));
        eventually("the access log says which gateway answered what", || {
            let access = std::fs::read_to_string(folder.join("diffyne.log")).unwrap_or_default();
            let lines =
                ["\"GET /diffyne HTTP/1.1\" 101", "\"GET /diffyne HTTP/1.1\" 401", "\"GET /diffyne HTTP/1.1\" 502"];
            lines.iter().all(|line| access.contains(line))
                && access.contains(&format!("127.0.0.1:{port_of_gateway} 502"))
        })?;
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let text = if path.is_file() { std::fs::read_to_string(&path)? } else { String::new() };
            assert!(!text.contains(key), "{file}, {}: {text}", path.display());
        }
        assert!(!nginx.output().contains(key), "{file}");
    }
    Ok(())
}

#[test]
fn systemd_accepts_the_units_and_rates_them_as_safe() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let units = project().join("deploy/systemd");
    let unit = |name: &str, instance: &str| -> anyhow::Result<PathBuf> {
        // The programs need not be installed.
        let text = std::fs::read_to_string(units.join(name))?
            .replace("/usr/local/bin/diffyne-gateway", "/bin/true")
            .replace("/usr/local/bin/diffyne-worker", "/bin/true");
        let path = folder.path().join(name.replace('@', &format!("@{instance}")));
        std::fs::write(&path, text)?;
        Ok(path)
    };
    unit("diffyne-gateway@.socket", "6001")?;
    let services = [unit("diffyne-gateway@.service", "6001")?, unit("diffyne-worker@.service", "7001")?];
    let hardened = [
        "SystemCallArchitectures=native",
        "ProtectProc=invisible",
        "ProtectKernelLogs=yes",
        "ProtectClock=yes",
        "UMask=0077",
    ];
    for service in &services {
        let text = std::fs::read_to_string(service)?;
        for line in hardened {
            assert!(text.lines().any(|other| other == line), "{}: {line}", service.display());
        }
        // PHP's processes, which the worker starts, compile.
        let denies = text.lines().any(|line| line == "MemoryDenyWriteExecute=yes");
        assert_eq!(denies, service.to_string_lossy().contains("gateway"), "{}", service.display());
    }
    let path = format!("{}:", folder.path().display());
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&services)
        .env("SYSTEMD_UNIT_PATH", path)
        .output()?;
    let words = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && words.is_empty(), "{words}");
    // At most 2.0 of 10.
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .args(&services)
        .output()?;
    assert!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
    Ok(())
}
