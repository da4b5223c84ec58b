//! Blade in a call: the old and the new state are rendered from the same start, whatever part of Blade a view uses, and
//! whatever an interrupted rendering has left behind.

use std::collections::HashMap;

use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::{dom, for_runtimes};
use diffyne_worker::vdom::{Node, parse};
use serde_json::{Value, json};

/// The views of `resources/views/layers`.
const PAGES: [&str; 8] = ["stack", "once", "section", "slots", "loop", "fragment", "shared", "throws"];
/// Methods and their text, in this order. `throw` makes a view throw: the component's own, if it is that one.
const CALLS: [(&str, &str); 10] = [
    ("write", "a"),
    ("write", "b"),
    ("write", "foot"),
    ("survive", "throw"),
    ("write", "b"),
    ("interrupt", "a"),
    ("interrupt", "c"),
    ("write", "throw"),
    ("share", "a"),
    ("write", "b"),
];

fn layers(page: &str, method: &str, text: &str) -> Value {
    layers_from("a", page, method, text)
}

fn layers_from(before: &str, page: &str, method: &str, text: &str) -> Value {
    call("App\\Diffyne\\Layers", "diffyne-layers", method, json!([text]), json!({"page": page, "text": before}), "r")
}

/// What the package's own endpoint answers to a call.
fn measure(port: u16, call: &Value) -> anyhow::Result<Option<Value>> {
    let browser = [("Sec-Fetch-Site", "same-origin")];
    Ok(patches(&http_post(port, "/_diffyne/update", &browser, &call.to_string())?.json()?).map(as_list))
}

/// What the page shows after patches of a tree; `None` for a failed call.
fn page_after<'a>(shown: &Node<'a>, patches: Option<&Value>) -> Option<Node<'a>> {
    patches.map(|patches| dom::sorted(&dom::apply(shown, patches.as_array().unwrap()).unwrap()))
}

/// What comes of a call: its patches, or `None` for a failure.
fn patches(answer: &Value) -> Option<Value> {
    (answer["s"] == true).then(|| answer["c"]["p"].clone())
}

/// The patches of the package's own endpoint, which may be an object: a list whose keys do not begin with 0.
fn as_list(patches: Value) -> Value {
    match patches {
        Value::Object(map) => map.into_iter().map(|(_, patch)| patch).collect(),
        list => list,
    }
}

for_runtimes!(each_rendering_begins_with_a_clean_view_factory: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn each_rendering_begins_with_a_clean_view_factory(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    // The measure: the package's own endpoint, in a process that begins each request anew.
    let (_server, port) = laravel.serve()?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut wrong = Vec::new();
    let mut shown = HashMap::new();
    for page in PAGES {
        // The stand-in's one patch has the whole component in it.
        let whole = measure(port, &layers_from("other", page, "write", "a"))?;
        shown.insert(page, dom::apply(&parse("<div></div>").unwrap(), whole.unwrap().as_array().unwrap())?);
    }
    for (page, (method, text)) in PAGES.iter().flat_map(|page| CALLS.iter().map(move |call| (*page, *call))) {
        // What a rendering has left behind is left out of the measure, which has no clean factory by itself.
        let expected = measure(port, &layers(page, if method == "share" { method } else { "write" }, text))?;
        let answer = client.call(layers(page, method, text)).await?;
        let answered = patches(answer.data());
        if page_after(&shown[page], answered.as_ref()) != page_after(&shown[page], expected.as_ref()) {
            wrong.push(format!("{page}, {method} {text}: {expected:?} was expected: {answer}"));
        }
        let is_same = text == "a" && (page, method) != ("shared", "share");
        assert_eq!(expected == Some(json!([])), is_same, "{page} {method} {text}: the measure itself");
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

for_runtimes!(what_a_provider_gives_to_views_is_in_every_rendering: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn what_a_provider_gives_to_views_is_in_every_rendering(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.change(
        "app/Providers/AppServiceProvider.php",
        "config(['auth.providers",
        "view()->startPush('list', '<b>of the provider</b>'); view()->inject('foot', 'of the provider'); config(['auth.providers",
    )?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for round in 0..3 {
        for page in ["stack", "section"] {
            let answer = client.call(layers(page, "write", "a")).await?;
            assert_eq!(patches(answer.data()), Some(json!([])), "round {round}, {page}: as it was: {answer}");
        }
        // Another component in its place: the whole of it.
        let answer = client.call(layers("section", "turn", "stack")).await?;
        assert!(answer.to_string().contains("of the provider"), "round {round}: {answer}");
    }
    Ok(())
}
