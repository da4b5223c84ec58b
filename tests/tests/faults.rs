//! The fault suite, short: each test is named after what a user would report. `make chaos` runs the same in full.

use diffyne_tests::faults::{Report, Scale, crowds, deploys, drops, hostile, presence, redis, soak, workers};

const SEED: u64 = 2026;

/// Prints what was found; nothing may be lost, and nothing doubled.
fn none_lost(report: &Report) -> anyhow::Result<()> {
    println!("{report}");
    anyhow::ensure!(report.lost == 0 && report.doubled == 0, "{report}");
    Ok(())
}

/// The same, and nobody had to be told that something is missing.
fn all_delivered(report: &Report) -> anyhow::Result<()> {
    none_lost(report)?;
    anyhow::ensure!(report.reported == 0, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn my_network_dropped_and_no_message_was_missing() -> anyhow::Result<()> {
    all_delivered(&drops::networks_drop(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_websocket_got_through_and_no_message_was_missing() -> anyhow::Result<()> {
    all_delivered(&drops::streams_drop(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_crashed_and_no_message_was_missing() -> anyhow::Result<()> {
    all_delivered(&drops::networks_drop_and_gateways_die(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_networks_dropped_and_no_message_was_missing() -> anyhow::Result<()> {
    all_delivered(&crowds::ten_thousand_drop(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_failed_that_day_and_every_page_had_or_knew_what_was_missing() -> anyhow::Result<()> {
    none_lost(&crowds::fifty_thousand_drop(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_crashed_and_nobody_saw_a_ghost() -> anyhow::Result<()> {
    all_delivered(&presence::gateways_die_while_users_come_and_go(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_lost_everything_and_every_page_knew() -> anyhow::Result<()> {
    none_lost(&redis::redis_comes_back_empty(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hung_and_each_message_came_once() -> anyhow::Result<()> {
    all_delivered(&redis::redis_is_paused(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_failed_over_and_nobody_missed_a_message_unknowingly() -> anyhow::Result<()> {
    none_lost(&redis::sentinels_fail_over(Scale::Short, false, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_failed_over_without_its_last_messages_and_every_page_knew() -> anyhow::Result<()> {
    none_lost(&redis::sentinels_fail_over(Scale::Short, true, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_gateway_was_heard_at_once() -> anyhow::Result<()> {
    all_delivered(&redis::a_gateway_comes_back_under_its_name(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn we_deployed_and_nobody_noticed() -> anyhow::Result<()> {
    all_delivered(&deploys::rolling_deploy(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_died_and_the_others_stayed_quick() -> anyhow::Result<()> {
    println!("{}", deploys::a_reconnect_storm(Scale::Short, SEED).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn some_clients_never_read_and_the_others_missed_nothing() -> anyhow::Result<()> {
    all_delivered(&hostile::connections_that_never_read(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_hung_and_another_came_and_went_and_the_rest_went_on() -> anyhow::Result<()> {
    println!("{}", workers::workers_freeze_and_flap(Scale::Short, SEED).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_talked_nonsense_and_every_call_was_answered() -> anyhow::Result<()> {
    println!("{}", workers::workers_talk_nonsense(Scale::Short, SEED).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_answered_each_message_with_the_same_and_it_ended() -> anyhow::Result<()> {
    println!("{}", workers::a_listener_dispatches_what_it_hears(Scale::Short, SEED).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_sent_garbage_and_nobody_else_noticed() -> anyhow::Result<()> {
    all_delivered(&hostile::half_a_million_hostile_frames(Scale::Short, SEED).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ran_for_weeks_through_everything() -> anyhow::Result<()> {
    println!("{}", soak::everything_at_random(Scale::Short, SEED).await?);
    Ok(())
}
