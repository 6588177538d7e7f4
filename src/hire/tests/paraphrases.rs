//! Many ways to say the same thing.

use super::*;
use serde_json::json;

const INVOICES: &str = "skill_invoices";
const APPROVAL: &str = "skill_approval";
const REMINDERS: &str = "skill_reminders";
const SUMMARY: &str = "skill_summary";
const ANSWERS: &str = "skill_answers";

#[test]
fn the_whole_job_in_other_words() {
    let all = [INVOICES, APPROVAL, REMINDERS, SUMMARY];
    let cases = [
        "Each weekday at 9 am find all overdue invoices in QuickBooks exceeding 500 that are more than 30 days past due, get the manager's approval in Slack, email every customer via Gmail, and share a recap in #finance.",
        "On weekdays at 09:00, check QuickBooks for unpaid bills above 500 that are over 30 days overdue. Ask my manager for permission in Slack. Then write to each client by email. Finally publish an overview to #finance.",
        "Monday to Friday at nine o'clock:\n- pull the outstanding invoices over 500, more than 30 days late\n- request sign-off from the boss on Slack\n- send the reminders by e-mail\n- put a digest into #finance",
        "Monday through Friday at 9:00\n1. List the late invoices greater than 500 which are more than 30 days late\n2. Ask the manager in Slack for approval\n3. Email the customers\n4. Post a summary to #finance",
        "Every working day at nine, look for invoices in QuickBooks that are late by more than 30 days and larger than 500, then ask the manager to approve the reminders in Slack and then mail each customer, and post a summary in #finance",
        "Every weekday at nine list the invoices over 500 that are more than 30 days overdue. After the manager approves in Slack, mail each customer a reminder. Post a summary in #finance.",
        "Every weekday at nine list the invoices over 500 that are more than 30 days overdue. Mail each customer a friendly reminder once the manager has approved in Slack. Post a summary in #finance.",
        "Every weekday at nine list the invoices over 500 that are more than 30 days overdue. Before mailing each customer, ask the manager in Slack to approve. Post a summary in #finance.",
        "You are our accounts-receivable clerk. List the overdue invoices over 500 that are more than 30 days late, ask the manager in Slack to approve, mail each customer, and post a summary in #finance. Do this every weekday at nine.",
        "Retrieve invoices that are more than 30 days late and over 500. Obtain consent from the manager in Slack! Email clients through Gmail. Report a summary in #finance. Run every weekday at 9.",
    ];
    all_right(&cases, |text| {
        compared(text, &all, "").or_else(|| {
            let plan = plan(text).ok()?;
            let crons: Vec<_> = plan
                .schedules
                .iter()
                .filter_map(|each| each.recurrence.cron.as_deref())
                .collect();
            let said = json!(plan.understood[0].parameters);
            let right =
                crons == ["0 9 * * 1-5"] && said == json!({"amount_over": "500", "days_late": 30});
            (!right || !plan.not_understood.is_empty())
                .then(|| format!("{text}\n    {crons:?} {said} {}", reasons(text)))
        })
    });
}

#[test]
fn parts_of_the_job() {
    let cases: &[(&str, &[&str])] = &[
        ("List the overdue invoices.", &[INVOICES]),
        (
            "The clerk lists the overdue invoices and mails each customer.",
            &[INVOICES, REMINDERS],
        ),
        (
            "List the late invoices. A summary is posted in #finance.",
            &[INVOICES, SUMMARY],
        ),
        (
            "List the late invoices. To each customer send a mail.",
            &[INVOICES, REMINDERS],
        ),
        (
            "List the late invoices. Don't forget to post a summary in #finance!",
            &[INVOICES, SUMMARY],
        ),
        ("Show me every unpaid bill.", &[INVOICES]),
        (
            "Find and list the outstanding invoices of at least EUR 300",
            &[INVOICES],
        ),
        (
            "Look up unpaid invoices of more than $1,200.50",
            &[INVOICES],
        ),
        ("Collect invoices that have not been paid.", &[INVOICES]),
        (
            "Get the invoices that haven't been paid yet, over five hundred dollars",
            &[INVOICES],
        ),
        (
            "List invoices that are at least two weeks overdue",
            &[INVOICES],
        ),
        (
            "List the late invoices and post a summary in #finance",
            &[INVOICES, SUMMARY],
        ),
        (
            "List the late invoices; summarize them in #cash and post it",
            &[INVOICES],
        ),
        (
            "List the late invoices, then share an overview of them to #cash-flow",
            &[INVOICES, SUMMARY],
        ),
        (
            "List late invoices. Ask @anna in Slack to approve. Mail each customer.",
            &[INVOICES, APPROVAL, REMINDERS],
        ),
        (
            "List late invoices. Ask for approval in Slack in #approvals. Mail each customer.",
            &[INVOICES, APPROVAL, REMINDERS],
        ),
        (
            "List late invoices. Get anna@acme.example to approve in Slack. Send a reminder to each customer by mail.",
            &[INVOICES, APPROVAL, REMINDERS],
        ),
        (
            "When somebody in Slack asks about an invoice, answer.",
            &[ANSWERS],
        ),
        (
            "Whenever someone asks about a bill in Slack, reply in the thread.",
            &[ANSWERS],
        ),
        (
            "If a colleague asks about an invoice in Slack, respond.",
            &[ANSWERS],
        ),
        (
            "Answer when people in Slack ask about invoices.",
            &[ANSWERS],
        ),
        (
            "As soon as anyone inquires about an invoice in Slack, reply.",
            &[ANSWERS],
        ),
        ("Look up customer 58 in QuickBooks.", &["skill_customer"]),
        (
            "Fetch the record of customer number 58.",
            &["skill_customer"],
        ),
        (
            "Search the inbox for \"subject:invoice\" and post a digest in #support",
            &["skill_mail_search", "skill_digest"],
        ),
        (
            "Look through our mail for 'refund', then share a summary in #support.",
            &["skill_mail_search", "skill_digest"],
        ),
        (
            "Every weekday at 9:15 post \"Standup!\" in #eng",
            &["skill_message"],
        ),
        (
            "Post a standup reminder in #eng every weekday at 9:15",
            &["skill_message"],
        ),
        (
            "Remind #eng to fill in the timesheets every Friday at 16:00",
            &["skill_message"],
        ),
        (
            "Announce \"Lunch is ready\" in #office daily at noon",
            &["skill_message"],
        ),
        (
            "When the webhook github/push fires, tell #dev",
            &["skill_event"],
        ),
        (
            "Each time the hook billing/payments gets payment.failed, notify #payments",
            &["skill_event"],
        ),
        (
            "Remember that the fiscal year ends in June.",
            &["skill_memory"],
        ),
    ];
    all_right(cases, |(text, expected)| compared(text, expected, ""));
}

#[test]
fn values_are_read_as_they_are_said() {
    let cases = [
        (
            "List unpaid invoices over $1,200.50",
            json!({"amount_over": "1200.50", "amount_over_currency": "USD"}),
            ">",
        ),
        (
            "List unpaid invoices of at least EUR 300",
            json!({"amount_over": "300", "amount_over_currency": "EUR"}),
            // Those in other currencies are asked for too, and not compared.
            ">",
        ),
        (
            "List unpaid invoices of 300 or more",
            json!({"amount_over": "300"}),
            ">=",
        ),
        ("List unpaid invoices", json!({}), ">"),
        (
            "List unpaid invoices over CHF 500.-",
            json!({"amount_over": "500", "amount_over_currency": "CHF"}),
            ">",
        ),
        (
            "List unpaid invoices over 1'500.– CHF",
            json!({"amount_over": "1500", "amount_over_currency": "CHF"}),
            ">",
        ),
        (
            "List unpaid invoices over 500,- EUR",
            json!({"amount_over": "500", "amount_over_currency": "EUR"}),
            ">",
        ),
        (
            "List unpaid invoices over C$500",
            json!({"amount_over": "500", "amount_over_currency": "CAD"}),
            ">",
        ),
        (
            "List unpaid invoices over AU$ 1,500.25",
            json!({"amount_over": "1500.25", "amount_over_currency": "AUD"}),
            ">",
        ),
        (
            "List unpaid invoices over US$500",
            json!({"amount_over": "500", "amount_over_currency": "USD"}),
            ">",
        ),
        (
            "List unpaid invoices over ₹50,000",
            json!({"amount_over": "50000", "amount_over_currency": "INR"}),
            ">",
        ),
        (
            "List unpaid invoices over 500 Swiss francs",
            json!({"amount_over": "500", "amount_over_currency": "CHF"}),
            ">",
        ),
        (
            "List unpaid invoices over 500 Canadian dollars",
            json!({"amount_over": "500", "amount_over_currency": "CAD"}),
            ">",
        ),
        (
            "List unpaid invoices of at least 10000 yen",
            json!({"amount_over": "10000", "amount_over_currency": "JPY"}),
            ">",
        ),
        (
            "List unpaid invoices over 500€",
            json!({"amount_over": "500", "amount_over_currency": "EUR"}),
            ">",
        ),
    ];
    for (text, said, operator) in cases {
        let plan = plan(text).unwrap();
        assert_eq!(json!(plan.understood[0].parameters), said, "{text}");
        let wanted =
            &plan.skill_graphs["sg_list_unpaid_invoices_v1"]["nodes"][0]["arguments"]["where"][0];
        assert_eq!(wanted["operator"], format!("'{operator}'"), "{text}");
    }
    let messages = [
        (
            "Remind #eng to fill in the timesheets",
            "fill in the timesheets",
        ),
        ("Post a standup reminder in #eng", "standup reminder"),
        (
            "Post “Don't forget {{ it }}” in #eng",
            "Don't forget {{ it }}",
        ),
    ];
    for (text, message) in messages {
        let plan = plan(text).unwrap();
        assert_eq!(
            plan.skill_graphs["sg_post_message_v1"]["nodes"][0]["arguments"]["text"],
            json!({"$value": message}),
            "{text}"
        );
    }
}
