//! File uploads and previews of a real Laravel: through the gateway, within its limits, and through every nginx file.

use std::time::{Duration, Instant};

use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::faulty_proxy::{FaultyProxy, ProxyState};
use diffyne_tests::http::http_post;
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Signal, eventually};
use diffyne_tests::redis::Certificates;
use diffyne_tests::upload::{PiecemealUpload, UploadApplication, curl, form, make_file, preview, upload};
use serde_json::json;

const MIB: usize = 1 << 20;

fn gateway(url: &str, flags: &[(&str, &str)]) -> anyhow::Result<Cluster> {
    let shape = Shape::new(1, 0).gateway("--upload-url", url);
    Cluster::start(flags.iter().fold(shape, |shape, (flag, value)| shape.gateway(flag, value)))
}

fn origin(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn metric(gateway: &Node, name: &str) -> anyhow::Result<u64> {
    Ok(gateway.metric(&format!("diffyne_gateway_{name}"))? as u64)
}

/// Uploads with this result so far.
fn uploads(gateway: &Node, result: &str) -> anyhow::Result<u64> {
    metric(gateway, &format!("uploads_total{{kind=\"upload\",result=\"{result}\"}}"))
}

fn identifier(answer: &serde_json::Value) -> String {
    assert_eq!(answer["success"], true, "{answer}");
    answer["identifier"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_reaches_the_application_as_its_user_and_a_foreign_page_as_nobody() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let cluster = gateway(&application.url(), &[])?;
    let site = origin(cluster.gateways[0].port);
    let file = make_file(cluster.directory.path(), "large.bin", 10 * MIB)?;
    let cookies = format!("Cookie: {}", application.log_in("7")?);
    let forwarded =
        ["-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Host: shop.test", "-H", "X-Forwarded-Proto: https"];
    let lies = ["-H", "Forwarded: for=6.6.6.6;host=evil.test", "-H", "X-Forwarded-Port: 81"];
    let user = [&["-H", &cookies][..], &forwarded, &lies].concat();
    let answer = upload(&site, &file, &user)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    let seen = json!({"path": "_diffyne/upload", "user": "7", "ip": "203.0.113.9", "root": "https://shop.test", "cookies": 2, "forwarded": null});
    assert_eq!(application.last_seen()?, seen);
    let identifier = identifier(&answer.json()?);

    let shown = preview(&site, &identifier, &user)?;
    assert_eq!((shown.status, shown.body == std::fs::read(&file)?), (200, true), "{}", shown.head);
    assert!(shown.head.contains("x-content-type-options: nosniff"), "{}", shown.head);
    assert_eq!(application.last_seen()?["user"], "7");
    assert_eq!(preview(&site, "nothing:here.png", &user)?.status, 404, "the application's own answer");
    assert_eq!(preview(&site, &identifier, &["-I"])?.status, 200, "HEAD");

    // A page of another site, whose visitor's cookies the browser sends along.
    let foreign = [&user[..], &["-H", "Origin: https://evil.test"]].concat();
    let answer = upload(&site, &file, &foreign)?;
    assert!(!answer.head.contains("set-cookie"), "it gives its visitor no session: {}", answer.head);
    let seen = application.last_seen()?;
    assert_eq!((&seen["user"], &seen["cookies"]), (&json!(null), &json!(0)), "{seen}");
    let own = [&user[..], &["-H", "Origin: https://shop.test"]].concat();
    let answer = upload(&site, &file, &own)?;
    assert!(answer.head.contains("access-control-allow-credentials: true"), "{}", answer.head);
    assert_eq!(application.last_seen()?["user"], "7");
    // The application's own check of forged requests holds.
    let url = format!("{site}/_diffyne/upload");
    let forged = curl(&url, &["-H", &cookies, "-H", "Sec-Fetch-Site: cross-site", "-F", "componentId=diffyne-album"])?;
    assert_eq!(forged.status, 419, "{}", forged.head);
    let mut request = PiecemealUpload::begin(cluster.gateways[0].port, "Content-Length: 0", &["Connection: close"])?;
    assert_eq!(request.answer()?.status, 400, "a form without a file");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_was_sent_whole() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let cluster = gateway(&application.url(), &[("--upload-bytes", "1MiB")])?;
    let gateway = &cluster.gateways[0];
    let words = "The file is too large.";
    // By its length, without a byte of it, and without "continue".
    for more in [&[][..], &["Expect: 100-continue"]] {
        let answer = PiecemealUpload::begin(gateway.port, "Content-Length: 1073741824", more)?.answer()?;
        assert_eq!((answer.status, &answer.json()?["error"]), (413, &json!(words)), "{answer:?}");
    }
    // By what has come, when no length was told.
    let mut request = PiecemealUpload::begin(gateway.port, "Transfer-Encoding: chunked", &[])?;
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..32 {
        request.send_chunk(&chunk)?;
    }
    let answer = request.answer()?;
    assert_eq!((answer.status, &answer.json()?["error"]), (413, &json!(words)), "{answer:?}");
    // A client that sends everything before it reads gets the answer, and no reset.
    let mut request = PiecemealUpload::begin(gateway.port, &format!("Content-Length: {}", 40 * MIB), &[])?;
    for _ in 0..40 {
        request.send(&vec![b'x'; MIB])?;
    }
    assert_eq!(request.answer()?.status, 413);
    // Nor does an AJAX call, which is refused in the same way.
    let call = http_post(gateway.port, "/_diffyne/update", &[], &"x".repeat(20 * MIB))?;
    assert_eq!(call.status, 413, "{call:?}");
    assert_eq!(uploads(gateway, "too_large")?, 4);
    assert!(application.stored()?.is_empty(), "nothing of it is stored");
    // What is allowed goes through, with "continue" where the client waits for it.
    let file = make_file(cluster.directory.path(), "fits.bin", MIB - 1000)?;
    assert_eq!(upload(&origin(gateway.port), &file, &["-H", "Expect: 100-continue"])?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_limited_in_all_per_address_and_in_time() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let flags = [("--max-uploads", "3"), ("--max-uploads-per-address", "2"), ("--upload-idle-timeout", "6s")];
    let cluster = gateway(&application.url(), &flags)?;
    let gateway = &cluster.gateways[0];
    let body = form("a.txt", b"hello");
    let length = format!("Content-Length: {}", body.len());
    let begin = |address: &str| -> anyhow::Result<PiecemealUpload> {
        let from = format!("X-Forwarded-For: {address}");
        let mut request = PiecemealUpload::begin(gateway.port, &length, &[&from, "Connection: close"])?;
        request.send(&body[..20])?;
        Ok(request)
    };
    let under_way = |count: u64| {
        eventually("uploads are under way", || metric(gateway, "uploads_under_way").is_ok_and(|now| now == count))
    };
    let mut first = [begin("203.0.113.1")?, begin("203.0.113.1")?];
    under_way(2)?;
    let answer = begin("203.0.113.1")?.answer()?;
    assert_eq!((answer.status, answer.header("retry-after")), (429, vec!["1"]), "{answer:?}");
    let mut third = begin("203.0.113.2")?;
    under_way(3)?;
    let answer = begin("203.0.113.3")?.answer()?;
    assert_eq!((answer.status, answer.header("retry-after")), (503, vec!["1"]), "{answer:?}");
    for request in &mut first {
        request.send(&body[20..])?;
        assert_eq!(request.answer()?.status, 200);
    }
    // The third stays silent.
    let answer = third.answer()?;
    assert_eq!(answer.status, 408, "{answer:?}");
    under_way(0)?;
    assert_eq!((uploads(gateway, "address")?, uploads(gateway, "full")?, uploads(gateway, "late")?), (1, 1, 1));
    // A browser that goes in the middle of it.
    drop(begin("203.0.113.1")?);
    eventually("its upload has ended", || uploads(gateway, "aborted").is_ok_and(|count| count == 1))?;
    under_way(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_application_are_told_and_cost_bounded_memory() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let proxy = FaultyProxy::start(application.port, ProxyState::Refusing)?;
    let url = origin(proxy.port);
    let flags = [("--call-timeout", "5s"), ("--upload-idle-timeout", "2s"), ("--upload-bytes", "1GiB")];
    let cluster = gateway(&url, &flags)?;
    let gateway = &cluster.gateways[0];
    let site = origin(gateway.port);
    let file = make_file(cluster.directory.path(), "a.bin", 1000)?;
    let answer = upload(&site, &file, &[])?;
    assert_eq!((answer.status, &answer.json()?["success"]), (502, &json!(false)));
    proxy.set(ProxyState::Silent);
    eventually("no response within the time of a call", || upload(&site, &file, &[]).is_ok_and(|it| it.status == 504))?;
    // It does not even read: the client has to wait, and the gateway keeps next to nothing.
    let before = gateway.process.resident_kib()?;
    let mut request = PiecemealUpload::begin(gateway.port, &format!("Content-Length: {}", 512 * MIB), &[])?;
    let sending = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < 256 * MIB && request.send(&vec![b'x'; MIB]).is_ok() {
            sent += MIB;
        }
        sent
    });
    eventually("it is told in time", || uploads(gateway, "no_response").is_ok_and(|count| count >= 2))?;
    let held = gateway.process.resident_kib()?.saturating_sub(before);
    assert!(held < 8 * 1024, "{held} KiB");
    sending.join().unwrap();
    proxy.set(ProxyState::Open);
    let mut last = String::new();
    let works = eventually("it works again", || {
        let answer = upload(&site, &file, &[]);
        last = format!("{answer:?}");
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert!(works.is_ok(), "{last}; {}", gateway.process.output());

    let off = Cluster::start(Shape::new(1, 0))?;
    let answer = upload(&origin(off.gateways[0].port), &file, &[])?;
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("DIFFYNE_UPLOAD_URL"), "{}", answer.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_reached_over_tls_and_by_a_socket() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let directory = tempfile::tempdir()?;
    let certificates = Certificates::make(directory.path())?;
    let file = make_file(directory.path(), "a.bin", MIB)?;
    let socket = format!("unix:{}", application.laravel.path("nginx/http.sock").display());
    let plain = gateway(&socket, &[])?;
    assert_eq!(upload(&origin(plain.gateways[0].port), &file, &[])?.status, 200);

    let [port] = free_ports()?;
    let site = format!(
        "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; client_max_body_size 16m; \
         location / {{ proxy_pass http://127.0.0.1:{}; }} }}",
        certificates.certificate.display(),
        certificates.key.display(),
        application.port
    );
    let _tls = plain.run_nginx(&site, port)?;
    let url = format!("https://localhost:{port}");
    let authority = certificates.authority.display().to_string();
    let secure = gateway(&url, &[("--upload-ca", &authority)])?;
    let answer = upload(&origin(secure.gateways[0].port), &file, &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let other = tempfile::tempdir()?;
    let stranger = Certificates::make(other.path())?.authority.display().to_string();
    let wary = gateway(&url, &[("--upload-ca", &stranger)])?;
    assert_eq!(upload(&origin(wary.gateways[0].port), &file, &[])?.status, 502, "somebody else's certificate");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_lets_an_upload_finish() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let mut cluster = gateway(&application.url(), &[])?;
    let port = cluster.gateways[0].port;
    let body = form("a.txt", b"hello");
    let mut request = PiecemealUpload::begin(port, &format!("Content-Length: {}", body.len()), &[])?;
    request.send(&body[..20])?;
    eventually("the upload is under way", || {
        metric(&cluster.gateways[0], "uploads_under_way").is_ok_and(|now| now == 1)
    })?;
    cluster.gateways[0].process.signal(Signal::Term)?;
    eventually("it takes nobody else", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err())?;
    request.send(&body[20..])?;
    let answer = request.answer()?;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("connection: close"), "{answer:?}");
    let started = Instant::now();
    assert!(cluster.gateways[0].process.wait()?.success());
    assert!(started.elapsed() < Duration::from_secs(10), "and then it ends");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_nginx_file_lets_uploads_through_and_refuses_large_ones_at_once() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let cluster = gateway(&application.url(), &[])?;
    let gateway = &cluster.gateways[0];
    let file = make_file(cluster.directory.path(), "large.bin", 11 * MIB)?;
    let content = std::fs::read(&file)?;
    let cookies = format!("Cookie: {}", application.log_in("9")?);
    for (name, is_relayed) in [("application.conf", false), ("tls.conf", false), ("diffyne.conf", true)] {
        let [port] = free_ports()?;
        let conf =
            cluster.shipped_site(name, port)?.replace("127.0.0.1:8000", &format!("127.0.0.1:{}", application.port));
        let _nginx = cluster.run_nginx(&conf, port)?;
        let relayed = uploads(gateway, "relayed")?;
        let answer = upload(&origin(port), &file, &["-H", &cookies])?;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(uploads(gateway, "relayed")? - relayed, u64::from(is_relayed), "{name}");
        let seen = application.last_seen()?;
        let scheme = if name == "tls.conf" { "https" } else { "http" };
        assert_eq!((&seen["user"], &seen["ip"]), (&json!("9"), &json!("127.0.0.1")), "{name}");
        // Debian's fastcgi_params leave the port of Host out.
        assert!(seen["root"].as_str().unwrap().starts_with(&format!("{scheme}://127.0.0.1")), "{name}: {seen}");
        let shown = preview(&origin(port), &identifier(&answer.json()?), &["-H", &cookies])?;
        assert_eq!((shown.status, shown.body == content), (200, true), "{name}");

        std::fs::write(application.laravel.path("storage/app/private.txt"), "an invoice")?;
        for dots in ["..", "%2e.", "%252E%252e"] {
            let other = preview(&origin(port), &format!("{dots}/..:private.txt"), &["--path-as-is"])?;
            assert_eq!(other.status, 404, "{name}: {}", other.text());
        }

        let length = format!("Content-Length: {}", 17 * MIB);
        let answer = PiecemealUpload::begin(port, &length, &[])?.answer()?;
        assert_eq!(
            (answer.status, &answer.json()?["error"]),
            (413, &json!("The file is too large.")),
            "{name}: {answer:?}"
        );
        let mut whole = PiecemealUpload::begin(port, &length, &[])?;
        for _ in 0..17 {
            whole.send(&vec![b'x'; MIB])?;
        }
        assert_eq!(whole.answer()?.status, 413, "{name}");
        if is_relayed {
            // What is there goes on at once: the progress that a browser shows is the real one.
            let before = metric(gateway, "upload_bytes_total")?;
            let mut half = PiecemealUpload::begin(port, &format!("Content-Length: {}", 4 * MIB), &[])?;
            half.send(&vec![b'x'; MIB])?;
            eventually("the first half has passed", || {
                metric(gateway, "upload_bytes_total").is_ok_and(|now| now - before >= 900_000)
            })?;
        }
    }
    Ok(())
}
