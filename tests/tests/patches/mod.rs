//! Patches lead to the DOM of the new HTML: pairs of outputs of random views, compared by our worker, applied in Chromium
//! by our script, and, where `DIFFYNE_PACKAGE` names the package, by its diffyne.js; and, for comparison, the package's
//! own patches.
//!
//! `DIFFYNE_SEED=n` draws other views. A failure names the smallest pair that was found, and the seed.

mod generate;
mod judge;
mod package;
mod view;

use std::path::PathBuf;

use diffyne_tests::laravel::Laravel;
use diffyne_worker::vdom::{Moves, diff_page, parse_page};
use generate::KINDS;
use judge::{Case, Judge, Script};
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use view::{Part, Side, print};

/// Pairs of all kinds together, at least.
const PAIRS: usize = 10_000;
/// Steps of the search for a smaller pair.
const SHRINKS_MAX: usize = 250;
/// Failing pairs that are made smaller and shown.
const SHOWN_MAX: usize = 8;

/// What diffyne.js cannot build or take away, whatever the patches are: names in SVG with capitals, links and other
/// namespaces, templates, the value of a field that keeps it in its attribute.
const BEYOND_DIFFYNE_JS: [&str; 9] = [
    "<template",
    "<math",
    "<tspan",
    "xlink:href",
    "foreignObject",
    "linearGradient",
    "type=checkbox",
    "type=hidden",
    "type=radio",
];

type ViewTree = Box<dyn ValueTree<Value = Part>>;

/// A pair of outputs of one view.
struct Pair {
    kind: usize,
    view: ViewTree,
    old: String,
    new: String,
}

impl Pair {
    fn of(kind: usize, view: ViewTree) -> Self {
        let part = view.current();
        let (old, new) = (print(&part, Side::Before), print(&part, Side::After));
        Self { kind, view, old, new }
    }
}

fn seed() -> u64 {
    std::env::var("DIFFYNE_SEED").ok().map_or(1, |seed| seed.parse().expect("DIFFYNE_SEED is a number"))
}

fn pairs(seed: u64) -> Vec<Pair> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let mut pairs = Vec::new();
    for kind in 0..KINDS.len() {
        let strategy = generate::view(kind);
        for _ in 0..PAIRS.div_ceil(KINDS.len()) {
            pairs.push(Pair::of(kind, strategy.new_tree(&mut runner).unwrap()));
        }
    }
    pairs
}

fn our_patches(old: &str, new: &str, moves: Moves) -> Value {
    serde_json::to_value(diff_page(&parse_page(old).unwrap(), &parse_page(new).unwrap(), moves)).unwrap()
}

/// There and back again, on one page.
fn our_case(old: &str, new: &str, moves: Moves) -> Case {
    let steps = vec![(our_patches(old, new, moves), new.to_owned()), (our_patches(new, old, moves), old.to_owned())];
    Case { page: old.to_owned(), steps }
}

/// Finds a smaller pair that fails, too, and tells what is wrong with it.
async fn shrink(judge: &mut Judge, script: Script, moves: Moves, pair: &mut Pair) -> anyhow::Result<String> {
    let mut smallest = (pair.old.clone(), pair.new.clone(), String::new());
    let mut goes_on = true;
    for _ in 0..SHRINKS_MAX {
        let part = pair.view.current();
        let (old, new) = (print(&part, Side::Before), print(&part, Side::After));
        let found = judge.judge(script, &[our_case(&old, &new, moves)]).await?.remove(0);
        goes_on = match found {
            Some(difference) => {
                smallest = (old, new, difference);
                pair.view.simplify()
            }
            None => pair.view.complicate(),
        };
        if !goes_on {
            break;
        }
    }
    let (old, new, difference) = smallest;
    let patches = our_patches(&old, &new, moves);
    let note = if goes_on { " (not the smallest)" } else { "" };
    Ok(format!("{}{note}\n  old: {old:?}\n  new: {new:?}\n  patches: {patches}\n  {difference}", KINDS[pair.kind].0))
}

/// Judges our patches, applied by one script. Returns how many pairs of each kind are wrong, and the smallest of them.
async fn judge_ours(
    judge: &mut Judge,
    script: Script,
    moves: Moves,
    pairs: &mut [Pair],
) -> anyhow::Result<(Vec<usize>, Vec<String>)> {
    let cases: Vec<Case> = pairs.iter().map(|pair| our_case(&pair.old, &pair.new, moves)).collect();
    let found = judge.judge(script, &cases).await?;
    let (mut wrong, mut shown) = (vec![0; KINDS.len()], Vec::new());
    for (pair, difference) in pairs.iter_mut().zip(found) {
        let is_beyond = script == Script::Package
            && BEYOND_DIFFYNE_JS.iter().any(|part| pair.old.contains(part) || pair.new.contains(part));
        if difference.is_some() {
            wrong[pair.kind] += 1;
            if !is_beyond && shown.len() < SHOWN_MAX {
                let smallest = shrink(judge, script, moves, pair).await?;
                println!("{script:?}, {smallest}");
                shown.push(smallest);
            }
        }
    }
    Ok((wrong, shown))
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_of_random_views_lead_to_the_dom_of_the_new_html() -> anyhow::Result<()> {
    let (seed, package) = (seed(), std::env::var_os("DIFFYNE_PACKAGE").map(PathBuf::from));
    let mut judge = Judge::start(package.as_deref()).await?;
    let mut pairs = pairs(seed);
    let (ours, mut shown) = judge_ours(&mut judge, Script::Ours, Moves::Reorder, &mut pairs).await?;
    println!(
        "{} pairs of seed {seed}, there and back; wrong by our script: {}",
        pairs.len(),
        ours.iter().sum::<usize>()
    );
    match package {
        None => println!("without DIFFYNE_PACKAGE: nothing was compared with the package"),
        Some(_) => shown.extend(compare_with_package(&mut judge, &mut pairs, &ours).await?),
    }
    assert!(shown.is_empty(), "seed {seed}:\n{}", shown.join("\n"));
    Ok(())
}

/// Prints the table of docs/protocol.md. Returns where our patches are wrong in the package's script.
async fn compare_with_package(judge: &mut Judge, pairs: &mut [Pair], ours: &[usize]) -> anyhow::Result<Vec<String>> {
    let (in_theirs, shown) = judge_ours(judge, Script::Package, Moves::Recreate, pairs).await?;
    let outputs: Vec<_> = pairs.iter().map(|pair| (pair.old.clone(), pair.new.clone())).collect();
    let patches = package::patches(&Laravel::new()?, &outputs)?;
    let case =
        |(pair, patches): (&Pair, Value)| Case { page: pair.old.clone(), steps: vec![(patches, pair.new.clone())] };
    let cases: Vec<Case> = pairs.iter().zip(patches).map(case).collect();
    let mut wrong = vec![0; KINDS.len()];
    let mut examples = vec![String::new(); KINDS.len()];
    for ((pair, difference), case) in pairs.iter().zip(judge.judge(Script::Package, &cases).await?).zip(&cases) {
        let Some(difference) = difference else { continue };
        wrong[pair.kind] += 1;
        let example = format!("  old: {:?}\n  new: {:?}\n  {}\n  {difference}", pair.old, pair.new, case.steps[0].0);
        if examples[pair.kind].is_empty() || example.len() < examples[pair.kind].len() {
            examples[pair.kind] = example;
        }
    }
    println!(
        "| template | pairs | wrong by the package's patches | ours, in its script | ours, in ours |\n|---|---|---|---|---|"
    );
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let count = pairs.iter().filter(|pair| pair.kind == kind).count();
        println!("| {name} | {count} | {} | {} | {} |", wrong[kind], in_theirs[kind], ours[kind]);
    }
    for (kind, (name, _)) in KINDS.iter().enumerate().filter(|(kind, _)| wrong[*kind] > 0) {
        println!("the package, {name}:\n{}", examples[kind]);
    }
    Ok(shown)
}
