//! A login in another tab ends the session of the sockets that are open: none of them acts as a guest afterwards.

use diffyne_tests::browser::Browser;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_runtimes;
use diffyne_tests::http::{http, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{call_probe, probe_call};
use diffyne_tests::ports::free_ports;
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

/// Requests a page as a browser does; the cookies that the browser then has.
fn visit(port: u16, path: &str, cookies: &str) -> anyhow::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n");
    let page = http(port, &request)?;
    anyhow::ensure!(page.status == 200, "{page:?}");
    Ok(page.cookies())
}

/// Checks that a call is refused, and that its page is sent away to come back.
async fn assert_refused(client: &mut Client, method: &str) -> anyhow::Result<()> {
    let answer = call_probe(client, method, json!([])).await?;
    assert_eq!((answer.is_ok(), answer.error_type()), (false, "session_ended"), "{method}: {answer}");
    let goodbye = client.receive().await?;
    assert_eq!((goodbye.event(), &goodbye["reconnect"]), ("diffyne.disconnect", &json!(true)), "{method}: {goodbye}");
    assert_eq!(client.closed().await?, 1001);
    Ok(())
}

for_runtimes!(after_a_login_in_another_tab_no_open_socket_acts_as_a_guest: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn after_a_login_in_another_tab_no_open_socket_acts_as_a_guest(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let (_server, site) = laravel.serve()?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--app-key", APP_KEY))?;
    let connect = async |cookies: &str| Client::connect_with(&cluster.url(0), &[("Cookie", cookies)]).await;
    let guest = visit(site, "/whoami", "")?;
    let mut tabs = Vec::new();
    for _ in 0..3 {
        tabs.push(connect(&guest).await?);
    }
    assert_eq!(call_probe(&mut tabs[0], "look", json!([])).await?.state()["seen"]["auth"], Value::Null);
    let user = visit(site, "/enter/2", &guest)?;
    // The first has used its session, the second has not, and the third catches every exception.
    for (tab, method) in tabs.iter_mut().zip(["look", "look", "lookCarefully"]) {
        assert_refused(tab, method).await?;
    }
    // What the browser has now is the user's.
    let mut tab = connect(&user).await?;
    assert_eq!(call_probe(&mut tab, "look", json!([])).await?.state()["seen"]["auth"], 2);
    // By AJAX the cookies are always those of now.
    let look = probe_call("a", "look", json!([])).to_string();
    let answer = http_post(cluster.gateways[0].port, "/_diffyne/update", &[("Cookie", &user)], &look)?.message()?;
    assert_eq!(answer.state()["seen"]["auth"], 2, "{answer}");

    // A session that has expired: the browser comes back with the same cookies, and may work on as a guest.
    let mut other = connect(&user).await?;
    for entry in std::fs::read_dir(laravel.path("storage/framework/sessions"))? {
        std::fs::remove_file(entry?.path())?;
    }
    assert_refused(&mut tab, "look").await?;
    assert_refused(&mut other, "look").await?;
    let session = |pairs: &str| pairs.split("; ").find(|pair| pair.starts_with("laravel_session=")).unwrap().to_owned();
    let expired = session(&user);
    let mut again = connect(&expired).await?;
    assert_refused(&mut again, "look").await?;
    let mut again = connect(&expired).await?;
    let answer = call_probe(&mut again, "look", json!([])).await?;
    assert_eq!(answer.state()["seen"]["auth"], Value::Null, "{answer}");
    assert_eq!(again.closed().await?, 1001, "its session has begun anew");
    // From here on it is a session like any other.
    let mut again = connect(&expired).await?;
    assert!(call_probe(&mut again, "look", json!([])).await?.is_ok());
    assert_eq!(again.barrier().await?, []);
    visit(site, "/enter/1", &expired)?;
    assert_refused(&mut again, "look").await
}

for_runtimes!(a_click_after_a_login_in_another_tab_is_the_users: fast_path = FastPath, fastcgi = FastCgi);
async fn a_click_after_a_login_in_another_tab_is_the_users(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let (_server, application) = laravel.serve()?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--app-key", APP_KEY))?;
    let [port] = free_ports()?;
    let site = cluster.shipped_site("application.conf", port)?;
    let site = site.replace("127.0.0.1:8000", &format!("127.0.0.1:{application}"));
    let _nginx = cluster.run_nginx(&site, port)?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{port}/visitor")).await?;
    tab.wait_for("document.documentElement.dataset.diffyneConnection === 'open'").await?;
    tab.eval("document.addEventListener('diffyne:error', (event) => (window.refused ??= []).push(event.detail))")
        .await?;
    tab.click("button").await?;
    tab.wait_for_text("output", "guest 1").await?;
    let mut other = browser.open(&format!("http://127.0.0.1:{port}/enter/2")).await?;
    other.wait_for_text("body", "logged in as 2").await?;
    tab.click("button").await?;
    tab.wait_for("window.refused?.length === 1").await?;
    assert_eq!(tab.text("output").await?, "guest 1", "the refused call has changed nothing");
    tab.wait_for("document.documentElement.dataset.diffyneConnection === 'open'").await?;
    tab.click("button").await?;
    tab.wait_for_text("output", "user 2 2").await?;
    Ok(())
}
