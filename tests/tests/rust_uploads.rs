//! File uploads for components in Rust: by curl through a gateway and a worker, and in a real browser.

use std::path::Path;

use base64::Engine as _;
use diffyne_shared::signing::{Signer, SigningKey, VerifyState};
use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::Browser;
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::ports::free_ports;
use diffyne_tests::upload::{make_file, preview, upload};
use serde_json::{Value, json};

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
const ALBUM: &str = "Gallery\\Album";
/// A picture of 2 by 1 pixels.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP438DgwNAAAAnBAkBvcwjwAAAAAElFTkSuQmCC";

fn cluster(directory: &Path, workers: usize, worker_flags: &[(&str, &str)]) -> anyhow::Result<Cluster> {
    let [port] = free_ports()?;
    let address = format!("127.0.0.1:{port}");
    let mut shape = Shape::new(1, workers).gateway("--upload-url", &format!("http://{address}"));
    shape = shape.worker("--upload-listen", &address).worker("--upload-dir", &directory.display().to_string());
    Cluster::start(worker_flags.iter().fold(shape, |shape, (flag, value)| shape.worker(flag, value)))
}

fn picture(directory: &Path) -> anyhow::Result<std::path::PathBuf> {
    let path = directory.join("sunset.png");
    std::fs::write(&path, base64::engine::general_purpose::STANDARD.decode(PNG)?)?;
    Ok(path)
}

/// A call of `add` in an album of this id whose picture has this handle.
fn add(component: &str, handle: &str) -> anyhow::Result<Value> {
    let signer = Signer::new(vec![SigningKey::parse("test")?], VerifyState::PropertyUpdates, true).unwrap();
    let empty = json!({"picture": "", "pictures": []});
    let mut message = call(ALBUM, component, "add", json!([]), json!({"picture": handle, "pictures": []}), "r");
    message["signature"] = json!(signer.sign_locked(ALBUM, component, &empty, &["pictures"]));
    Ok(message)
}

/// Uploads a file for the component `diffyne-album`; its handle.
fn upload_for_album(origin: &str, file: &Path) -> anyhow::Result<String> {
    let answer = upload(origin, file, &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()?["identifier"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_reaches_the_component_that_it_was_uploaded_for_and_no_other() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(directory.path(), 1, &[])?;
    let origin = format!("http://127.0.0.1:{}", cluster.gateways[0].port);
    let png = picture(directory.path())?;
    let handle = upload_for_album(&origin, &png)?;
    let mut client = Client::connect(&cluster.url(0)).await?;

    let answer = client.call(add("diffyne-other", &handle)?).await?;
    assert_eq!(answer["errors"]["picture"][0], "The picture field must be an image.", "another's file: {answer}");
    let shown = preview(&origin, &handle, &[])?;
    assert_eq!((shown.status, shown.body == std::fs::read(&png)?), (200, true));
    assert!(shown.head.contains("content-type: image/png") && shown.head.contains("sandbox"), "{}", shown.head);

    let answer = client.call(add("diffyne-album", &handle)?).await?;
    let added = json!([{"name": "sunset.png", "kib": 1, "handle": handle}]);
    assert_eq!((&answer.state()["pictures"], &answer.state()["picture"]), (&added, &json!("")), "{answer}");

    // By content, not by name.
    let disguised = make_file(directory.path(), "disguised.png", 3000)?;
    let handle = upload_for_album(&origin, &disguised)?;
    let answer = client.call(add("diffyne-album", &handle)?).await?;
    assert_eq!(
        answer["errors"],
        json!({"picture": ["The picture field must be an image.", "The picture field must be a file of type: png, jpg, webp."]}),
        "{answer}"
    );
    let shown = preview(&origin, &handle, &[])?;
    assert!(
        shown.head.contains("content-disposition: attachment") && shown.head.contains("octet-stream"),
        "{}",
        shown.head
    );
    // Larger than the rule allows.
    let mut large = std::fs::read(&png)?;
    large.resize(3 << 20, 0);
    let path = directory.path().join("large.png");
    std::fs::write(&path, large)?;
    let handle = upload_for_album(&origin, &path)?;
    let answer = client.call(add("diffyne-album", &handle)?).await?;
    let too_large = json!({"picture": ["The picture field must not be greater than 2048 kilobytes."]});
    assert_eq!(answer["errors"], too_large, "{answer}");

    for wrong in ["", "diffyne-album:../../x", "diffyne-album:0123456789abcdef0123456789abcdef.00"] {
        assert_eq!(preview(&origin, wrong, &[])?.status, 404, "{wrong}");
    }
    let metric = |name: &str| cluster.workers[0].metric(name).map(|value| value as u64);
    assert_eq!(metric("diffyne_worker_uploads_total{result=\"stored\"}")?, 3);
    assert!(metric("diffyne_worker_upload_bytes")? > 3 << 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_limited_and_what_is_refused_is_removed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(directory.path(), 1, &[("--upload-disk-bytes", "1MiB"), ("--upload-bytes", "900KiB")])?;
    let origin = format!("http://127.0.0.1:{}", cluster.gateways[0].port);
    let stored =
        || -> anyhow::Result<usize> { Ok(std::fs::read_dir(directory.path().join("diffyne-uploads"))?.count()) };
    let file = make_file(directory.path(), "half.bin", 700 << 10)?;
    let large = make_file(directory.path(), "large.bin", 2 << 20)?;
    let answer = upload(&origin, &large, &[])?;
    assert_eq!((answer.status, &answer.json()?["error"]), (413, &json!("The file is too large.")));
    let answer = upload(&origin, &large, &["-H", "Transfer-Encoding: chunked"])?;
    assert_eq!(answer.status, 413, "without a length: {}", answer.text());
    upload_for_album(&origin, &file)?;
    let answer = upload(&origin, &file, &[])?;
    assert_eq!((answer.status, &answer.json()?["success"]), (507, &json!(false)), "{}", answer.text());
    assert_eq!(stored()?, 2, "one file with its details");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_worker_that_shares_the_directory_finds_a_file() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let uploads = cluster(directory.path(), 1, &[])?;
    let [port] = free_ports()?;
    let shape = Shape::new(1, 1).worker("--upload-listen", &format!("127.0.0.1:{port}"));
    let others = Cluster::start(shape.worker("--upload-dir", &directory.path().display().to_string()))?;
    let png = picture(directory.path())?;
    let handle = upload_for_album(&format!("http://127.0.0.1:{}", uploads.gateways[0].port), &png)?;
    let mut client = Client::connect(&others.url(0)).await?;
    let answer = client.call(add("diffyne-album", &handle)?).await?;
    assert_eq!(answer.state()["pictures"][0]["name"], "sunset.png", "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_uploaded_shown_and_added_in_a_browser() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(directory.path(), 1, &[])?;
    let application = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
    let browser = Browser::start()?;
    let png = picture(directory.path())?;
    let text = make_file(directory.path(), "notes.txt", 1000)?;
    let mut tab = browser.open(&application.url("/album")).await?;
    tab.wait_for(OPEN).await?;
    tab.choose_files("input[type=file]", &[&text]).await?;
    tab.wait_for_text("[diff\\:error=picture]", "The picture field must be an image.").await?;
    tab.choose_files("input[type=file]", &[&png]).await?;
    tab.wait_for("document.querySelector('img')?.naturalWidth === 2").await?;
    tab.wait_for_text("[diff\\:error=picture]", "").await?;
    tab.click("button").await?;
    tab.wait_for_text("li", "sunset.png, 1 KiB").await?;
    tab.wait_for("!document.querySelector('img')").await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    Ok(())
}
