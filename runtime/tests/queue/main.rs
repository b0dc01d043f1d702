//! Tests the promises that every queue backend makes. Each test of the suite runs twice: with a real redis-server and
//! with a SQLite file.

#![expect(clippy::unwrap_used, reason = "a test says so by a panic")]

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "other programs use the rest")]
mod support;

mod model;
mod test_server;

mod atomic_verbs;
mod audit;
mod cancel_and_pause;
mod claim_endings;
mod claims;
mod dead;
mod groups;
mod intake;
mod model_test;
mod outages;
mod registry;
mod retention;
mod rights;
mod server_faults;
mod settings;
mod tls;
mod versions;

macro_rules! on_both {
    ($($module:ident: $($test:ident),+;)+) => {
        on_both!(@ redis { $($module: $($test),+;)+ });
        on_both!(@ sqlite { $($module: $($test),+;)+ });
    };
    (@ $backend:ident { $($module:ident: $($test:ident),+;)+ }) => {
        mod $backend {
            $(mod $module {
                $(#[tokio::test]
                async fn $test() {
                    crate::$module::$test(crate::test_server::TestServer::$backend().await).await;
                })+
            })+
        }
    };
}

on_both! {
    claims: submitting_twice_does_nothing_more, what_was_windows_1252_is_submitted_again_as_ascii, a_bad_request_is_refused_whole, a_long_submit_is_answered_in_order,
        the_claim_carries_the_request, an_unreadable_request_is_claimed_to_be_ended, priority_then_age_decides, the_same_nonce_gives_the_same_claim,
        several_are_claimed_at_once, the_same_nonce_gives_the_same_claims,
        a_request_that_lost_two_workers_is_claimed_alone,
        an_unreadable_request_is_claimed_among_others,
        a_delayed_request_waits, a_lost_lease_goes_to_another, the_third_loss_is_poison,
        lost_leases_do_not_count_after_a_new_checkpoint, a_renewed_lease_is_kept,
        a_request_of_a_lost_worker_stays_with_its_output, requests_of_another_output_do_not_hide_others, a_paused_queue_still_hands_out_requests_that_must_be_ended,
        each_request_is_claimed_by_one, a_submit_wakes_a_waiting_worker, a_wait_ends;
    claim_endings: a_settle_is_final, only_the_holder_ends_a_claim, a_failed_request_comes_back,
        a_dead_letter_is_retried_or_purged, hosts_that_have_answered_are_remembered, a_dead_letter_has_the_report_of_its_own_attempt, a_code_is_never_that_of_another_error, a_release_does_not_count, each_end_may_be_asked_again;
    dead: a_retry_of_all_takes_each_once, a_purge_of_all_leaves_what_dies_later,
        a_purge_of_documents_leaves_what_comes_later, a_death_that_is_over_is_skipped, a_list_by_time_has_each_once,
        an_interrupted_retry_leaves_whole_steps, a_wait_for_several_tells_of_each, a_retry_can_change_the_input_options;
    cancel_and_pause: a_waiting_request_is_cancelled, a_leased_request_is_asked_to_stop, progress_shows_while_leased, a_cancel_outlives_the_worker,
        nothing_ended_is_cancelled, a_paused_queue_gives_nothing, lists_are_in_order, queues_are_listed,
        names_are_checked, reserved_names_are_not_filled;
    intake: documents_become_requests, an_invalid_document_is_kept, an_invalid_document_is_purged_by_its_key, a_huge_document_is_clipped, a_step_reads_a_bounded_number_of_bytes, a_taken_id_is_a_conflict, an_invalid_document_has_the_code_of_its_reason,
        a_long_list_does_not_stall_claims, a_busy_queue_imports, invalid_documents_do_not_hide_valid_ones,
        a_paused_queue_imports_slowly;
    retention: what_ended_goes_after_its_time, a_reap_takes_a_bounded_number_and_the_oldest_first, a_removed_id_is_new_again;
    groups: a_group_is_listed_in_order_in_pages, a_group_keeps_its_requests_until_they_are_removed, a_document_can_name_a_group, a_group_has_a_name,
        statuses_come_in_the_order_of_the_ids;
    registry: a_component_is_kept_under_its_digest, reference_data_is_kept_under_its_digest, a_binding_names_its_reference_data, the_component_pushed_last_comes_first, bindings_are_numbered, a_binding_that_says_more_than_is_known_is_refused, a_list_of_one_step_is_read_as_its_short_form, the_expected_binding_must_be_in_force,
        a_claim_carries_the_binding, a_queue_may_need_a_binding;
    model_test: any_walk_follows_the_model, an_audit_of_a_live_queue_is_clean;
}
