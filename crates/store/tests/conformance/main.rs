//! One suite for every engine: what the store promises, asked of `Store` alone. To add an engine, add a line
//! to `scenarios!`.
#![expect(clippy::unwrap_used, reason = "tests may")]

mod alarms;
mod dashboards;
mod deployments;
mod devices;
mod firmware;
mod flows;
mod kept;
mod kept_nodes;
mod nodes;
mod people;
mod reports;
mod selectors;
mod several;
mod shadows;
mod shares;
mod state;
mod telemetry;
mod usage;
mod webhooks;
mod world;

/// Makes a test of each scenario on each engine.
macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        engines! {
            [in_memory, world::World::memory()]
            [in_a_file, world::World::file()]
            [on_postgres, world::World::postgres()]
            => $($module::$name),*
        }
    };
}

macro_rules! engines {
    ($([$engine:ident, $world:expr])* => $($module:ident::$name:ident),*) => {
        engines!(@each $([$engine, $world])* => ($($module::$name),*));
    };
    (@each [$engine:ident, $world:expr] $([$others:ident, $worlds:expr])*
        => ($($module:ident::$name:ident),*)) => {
        mod $engine {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                $module::$name(&mut $world.await).await;
            })*
        }
        engines!(@each $([$others, $worlds])* => ($($module::$name),*));
    };
    (@each => ($($module:ident::$name:ident),*)) => {};
}

scenarios! {
    state::every_text_is_prepared,
    state::changes_are_numbered_in_order,
    state::changes_are_found_by_what_they_tell,
    state::a_stale_write_changes_nothing,
    state::a_failing_transaction_does_not_hurt_its_neighbours,
    state::waiters_share_a_commit,
    state::a_full_disk_is_said_and_overcome,
    state::artifacts_come_back_by_digest,
    state::notes_are_kept_replaced_and_removed,
    state::any_text_comes_back,
    state::the_database_is_sound,
    nodes::work_has_one_holder_who_loses_it_when_it_does_not_renew,
    nodes::what_a_former_holder_writes_is_refused,
    nodes::a_node_has_its_name_alone_while_it_lives,
    nodes::the_first_word_counts_for_all,
    nodes::a_place_in_the_spool_of_a_gateway_is_taken_once,
    alarms::a_rule_has_one_open_alarm_for_a_device,
    alarms::what_is_decided_by_a_rule_as_it_was_is_refused,
    alarms::alarms_are_found_by_state_device_rule_and_selector,
    kept::sessions_come_back_with_all_that_waits,
    kept::the_last_word_about_each_thing_counts,
    kept::more_than_a_page_comes_back,
    kept::a_full_disk_keeps_nothing_of_a_batch,
    kept_nodes::what_is_passed_waits_until_its_node_makes_it_an_entry,
    kept_nodes::a_batch_that_is_given_twice_is_written_once,
    kept_nodes::a_node_writes_nothing_of_a_session_that_was_taken_from_it,
    kept_nodes::a_session_is_handed_over_with_the_batch_that_tells_how_it_is,
    kept_nodes::sessions_of_nobody_belong_to_the_first_node_and_numbers_to_one,
    kept_nodes::the_latest_retained_message_stays_whoever_is_late,
    kept_nodes::of_topics_that_were_retained_at_once_all_are_read,
    devices::a_device_is_written_found_edited_and_deleted,
    devices::an_external_id_is_unique_in_its_dialect,
    devices::a_credential_finds_its_device,
    devices::a_certificate_finds_its_device_until_it_is_revoked,
    devices::a_rotation_ends_with_the_next_credential,
    devices::knocks_are_kept_moved_and_dropped,
    devices::software_is_guarded_and_complete,
    devices::presence_is_replaced_seen_and_ended,
    devices::a_device_has_one_holder_and_a_fence,
    devices::selectors_pick_devices,
    devices::lists_are_sorted_searched_and_paged,
    devices::assignments_say_which_is_active,
    deployments::scripts_get_numbers_and_versions,
    deployments::a_script_in_use_is_counted_once_per_device,
    deployments::a_deployment_is_written_found_and_counted,
    deployments::a_device_has_one_open_task,
    deployments::targets_come_in_the_order_asked,
    deployments::tasks_are_due_by_their_deadline,
    deployments::the_overview_counts,
    deployments::commands_wait_are_due_and_end_with_their_device,
    firmware::a_firmware_is_written_found_edited_and_deleted,
    firmware::a_firmware_is_known_by_what_devices_say_and_by_who_uses_it,
    firmware::a_part_of_an_artifact_is_read,
    firmware::bytes_of_which_nothing_tells_are_swept,
    dashboards::dashboards_are_seen_by_their_owner_or_by_all,
    dashboards::public_links_go_with_their_dashboard,
    flows::a_flow_is_written_found_edited_and_deleted,
    flows::versions_of_flows_come_back_as_they_were_drawn,
    flows::the_newest_layouts_of_a_flow_are_kept,
    flows::limits_end_with_flow_device_and_deployment,
    flows::programs_are_not_in_the_library_and_go_with_their_device,
    reports::the_last_announcement_counts,
    reports::the_newest_log_lines_are_kept,
    reports::versions_in_quarantine_are_kept_until_they_are_lifted,
    shadows::shadows_are_guarded_complete_and_end_with_their_device,
    shadows::cameras_and_positions_end_with_their_device,
    shadows::shadows_are_due_by_their_deadline,
    shadows::the_newest_revisions_of_a_shadow_are_kept,
    people::users_have_names_without_case,
    people::logins_live_and_end_with_their_user,
    people::tokens_are_found_by_digest,
    people::keys_of_pyaiot_gateways_are_kept,
    people::pusher_apps_are_kept,
    people::grants_are_for_devices_and_tags,
    usage::a_day_is_kept_and_said_again,
    usage::a_day_is_made_of_presence_reports_and_firmware,
    webhooks::webhooks_are_guarded_and_have_unique_names,
    webhooks::deliveries_keep_their_order_and_go_behind_it_when_sent_again,
    webhooks::too_many_deliveries_are_dead_letters_and_old_ones_make_room,
    webhooks::a_page_and_its_total_are_of_one_moment,
    webhooks::mails_wait_beside_webhooks,
    shares::a_device_has_one_owner_and_shares_end_with_it,
    shares::a_claim_code_takes_the_place_of_the_one_before,
    shares::customers_are_listed_apart_from_the_vendors_people,
    selectors::the_database_and_plain_code_agree_about_selectors,
    selectors::telemetry_and_reports_are_told_apart,
    selectors::the_newest_value_counts_wherever_it_is,
    selectors::groups_have_unique_names,
    selectors::capabilities_are_counted_by_who_has_and_needs_them,
    telemetry::points_come_back_in_time_order,
    telemetry::the_newest_points_of_a_range_are_given,
    telemetry::a_repeated_point_is_stored_once,
    telemetry::a_repeated_message_is_known_by_its_mark,
    telemetry::a_repeated_message_with_mended_times_is_stored_once,
    telemetry::late_points_join_their_hour,
    telemetry::the_latest_of_each_metric_is_known,
    telemetry::unknown_devices_and_too_many_metrics_are_ignored,
    telemetry::a_deleted_device_leaves_nothing,
    telemetry::every_kind_of_value_comes_back,
    telemetry::an_hour_of_very_many_points_has_parts,
    telemetry::much_telemetry_is_merged_before_its_time,
    telemetry::points_that_come_after_their_age_are_added_to_roll_ups,
    telemetry::what_is_younger_than_its_age_stays,
    telemetry::an_export_reads_on_where_it_was,
    telemetry::readers_miss_nothing_while_points_are_merged,
}

engines! {
    [several_on_postgres, world::World::postgres()]
    => several::both_append_to_the_same_series,
    several::what_one_appends_the_other_reads_at_once,
    several::both_meet_a_new_metric_at_once,
    several::one_merges_while_the_other_appends_and_reads,
    several::equal_points_count_once_wherever_they_come,
    several::a_repetition_is_known_at_another_node,
    several::a_device_deleted_by_one_is_none_for_the_other,
    several::partitions_are_made_ahead_and_dropped,
    several::a_closed_partition_takes_nothing,
    several::ten_thousand_points_are_one_batch,
    several::what_was_measured_last_is_made_from_what_was_copied,
    several::one_ages_while_the_other_merges
}
