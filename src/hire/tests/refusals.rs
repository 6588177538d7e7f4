//! Texts that must not become actions, and why.

use super::*;

const LATE: &str = "List the late invoices. ";

#[test]
fn nothing_is_done_that_is_not_said() {
    let cases = [
        ("Do not mail customers.", "not to be done"),
        ("Never post in #finance.", "not to be done"),
        ("Don't list the unpaid invoices.", "not to be done"),
        (
            "Never mail customers and post \"Hi\" in #finance.",
            "may be part of what is not to be done",
        ),
        ("Should I list the overdue invoices?", "is a question"),
        ("Maybe list the overdue invoices.", "leaves open"),
        (
            "List the overdue invoices unless they belong to ACME.",
            "condition",
        ),
        (
            "List the overdue invoices except those of partners.",
            "condition",
        ),
        (
            "List the overdue invoices of ACME.",
            "“ACME” is not understood",
        ),
        ("List the overdue invoices under 500.", "condition"),
        ("List the overdue invoices over EUR500.", "EUR500"),
        (
            "List the overdue invoices over 1.200,50 EUR.",
            "would change what is done",
        ),
        ("List the overdue invoices over 0.5 BTC.", "0.5 BTC"),
        (
            "List the overdue invoices over 500 EUR or USD.",
            "condition or a choice",
        ),
        (
            "List the top 10 overdue invoices.",
            "would change what is done",
        ),
        (
            "List the overdue invoices from over 30 customers.",
            "would change what is done",
        ),
        (
            "List the overdue invoices over 500k.",
            "would change what is done",
        ),
        (
            "List the invoices more than a month overdue.",
            "would change what is done",
        ),
        (
            "List the unpaid invoices over 500 and over 700.",
            "more than one amount over",
        ),
        (
            "The previous clerk listed the overdue invoices.",
            "no instruction",
        ),
        (
            "Last year we listed the overdue invoices.",
            "no instruction",
        ),
        ("We listed all overdue invoices.", "no instruction"),
        ("Anna will list the overdue invoices.", "no instruction"),
        ("Go to the post office.", "no skill does this"),
        ("Have a late lunch.", "no skill does this"),
        ("Post a message.", "names no channel"),
        ("Post something in #all.", "does not say what to post"),
        ("Post \"Hi\" in #a or #b.", "a choice"),
        ("Post \"Hi\" in #all and in #some.", "more than one channel"),
        ("Look up a customer.", "names no customer number"),
        ("Search the mail for refunds.", "quotation marks"),
        ("Mail each customer.", "needs invoices"),
        ("Post a summary in #finance.", "needs mails or invoices"),
        ("Every weekday at nine.", "not what is to be done"),
        (
            "When a customer calls, answer the phone.",
            "phone is no integration",
        ),
        (
            "Sync the overdue invoices to Salesforce.",
            "Salesforce is no integration",
        ),
        (
            "List the overdue invoices in Notion.",
            "Notion is no integration",
        ),
        (
            "When the webhook github/push fires, mail each customer.",
            "no skill",
        ),
        (
            "If an invoice is more than 30 days late, mail the customer.",
            "no skill",
        ),
        ("Water the plants.", "no skill does this"),
        ("7 42 #42 !!!", ""),
    ];
    all_right(&cases, |(text, reason)| compared(text, &[], reason));
}

#[test]
fn a_refused_clause_takes_only_what_hangs_on_it() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("Post a summary.", &["skill_invoices"], "names no channel"),
        (
            "Post a summary in #finance. Also update Salesforce.",
            &["skill_invoices", "skill_summary"],
            "Salesforce",
        ),
        (
            "Mail each customer. Do not mail customers.",
            &["skill_invoices"],
            "forbids it",
        ),
        ("Mail each German customer.", &["skill_invoices"], "German"),
        ("Mail some customers.", &["skill_invoices"], "some"),
        ("Mail a few customers.", &["skill_invoices"], "few"),
        ("Mail most customers.", &["skill_invoices"], "most"),
        (
            "Mail several of the customers.",
            &["skill_invoices"],
            "several",
        ),
        (
            "Mail a handful of customers.",
            &["skill_invoices"],
            "handful",
        ),
        (
            "Mail each customer who owes more than 1000.",
            &["skill_invoices"],
            "1000",
        ),
        (
            "Post a summary in #finance. Never post anything in #finance.",
            &["skill_invoices"],
            "forbids it",
        ),
        (
            "Post a summary in #cash. Never post anything in #finance.",
            &["skill_invoices", "skill_summary"],
            "not to be done",
        ),
        (
            "Mail each customer. Do not mail suppliers.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "not to be done",
        ),
        (
            "Mail each customer. Do not mail anyone until the manager approves.",
            &["skill_invoices"],
            "forbids it",
        ),
        (
            "Post a summary in #finance. Do not post anything in Slack.",
            &["skill_invoices"],
            "forbids it",
        ),
        (
            "Never ask the manager. Ask the manager in Slack to approve. Mail each customer.",
            &["skill_invoices"],
            "open question",
        ),
        (
            "Someone else posts a summary in #finance.",
            &["skill_invoices"],
            "no instruction",
        ),
        (
            "Customers mail us about invoices.",
            &["skill_invoices"],
            "no instruction",
        ),
        (
            "Anna should mail each customer.",
            &["skill_invoices"],
            "no instruction",
        ),
        (
            "Do not yet mail customers.",
            &["skill_invoices"],
            "not to be done",
        ),
        (
            "Every Friday at 16:00 post a summary in #finance.",
            &["skill_invoices", "skill_summary"],
            "",
        ),
        (
            "Mail each customer. Never mail anyone without approval from legal.",
            &["skill_invoices"],
            "forbids it",
        ),
        // A question that nobody can ask holds up everything behind it.
        (
            "Ask somebody to approve in Slack. Mail each customer.",
            &["skill_invoices"],
            "does not say who",
        ),
        (
            "Ask Anna in Slack to approve, then mail each customer.",
            &["skill_invoices"],
            "open question",
        ),
        (
            "Get approval from legal by fax, then mail each customer and post a summary in #finance.",
            &["skill_invoices"],
            "open question",
        ),
        (
            "Mail each customer once legal approves.",
            &["skill_invoices"],
            "open question",
        ),
        // What belongs to an event that is not understood is not done at another time.
        (
            "When a customer pays, send a thank-you note and mail each customer.",
            &["skill_invoices"],
            "occasion",
        ),
        (
            "Mail each customer. Do not mail a customer without approval.",
            &["skill_invoices"],
            "forbids it",
        ),
        (
            "Ask the manager in Slack to approve. Mail each customer. Never mail a customer without the manager's approval.",
            &["skill_invoices", "skill_approval", "skill_reminders"],
            "",
        ),
        (
            "List all overdue bills over 900.",
            &["skill_invoices"],
            "an earlier clause already gives invoices",
        ),
    ];
    all_right(cases, |(text, expected, reason)| {
        compared(&format!("{LATE}{text}"), expected, reason)
    });
}

#[test]
fn a_time_that_cannot_be_kept_is_said_and_not_replaced() {
    let text = "Every weekday at 9 list the late invoices. Every Friday at 16:00 post a summary in #finance.";
    assert_eq!(
        compared(text, &["skill_invoices"], "no clause of the same occasion"),
        None
    );
    let cases = [
        (
            "Every third Monday at 9 list the overdue invoices.",
            "say which",
        ),
        ("Every Monday list the overdue invoices.", "no time of day"),
        (
            "Every weekday at 9 IST list the overdue invoices.",
            "Asia/Kolkata",
        ),
        (
            "Every 30 seconds list the overdue invoices.",
            "cannot be kept",
        ),
    ];
    for (text, reason) in cases {
        let plan = plan(text).unwrap();
        assert_eq!(plan.schedules, [], "{text}");
        assert!(
            plan.not_understood
                .iter()
                .any(|each| each.reason.contains(reason)),
            "{text} {:?}",
            plan.not_understood
        );
    }
}

#[test]
fn the_rest_of_a_clause_is_reported() {
    let plan = plan("Diligently list the overdue invoices over EUR 500.").unwrap();
    assert_eq!(plan.understood.len(), 1);
    assert_eq!(plan.not_understood[0].sentence, "Diligently");
}

#[test]
fn empty_and_long_texts_name_the_field() {
    for (text, message) in [
        (" \n ".to_owned(), "job_description is empty"),
        (
            "a ".repeat(16_385),
            "job_description has 32770 bytes, the limit is 32768",
        ),
    ] {
        let error = plan(&text).unwrap_err();
        assert_eq!(
            (error.field(), error.to_string().as_str()),
            ("job_description", message)
        );
    }
}

#[test]
fn a_catalog_without_a_capability_is_no_reason_to_promise_it() {
    struct Nothing;
    impl CatalogView for Nothing {
        fn integration_of(&self, _: &str) -> Option<String> {
            None
        }
        fn has_integration(&self, _: &str) -> bool {
            false
        }
    }
    let request = JobDescription {
        text: "Post \"Hi\" in #all.".into(),
        ..JobDescription::default()
    };
    let Err(HireError::NothingUnderstood { not_understood }) =
        planner().plan_now(&request, &Nothing, &[])
    else {
        panic!()
    };
    assert!(
        not_understood[0].reason.contains("`slack.chat.post`"),
        "{not_understood:?}"
    );
}

/// A limit that is not understood never leaves the skill that it may speak of without a question that quotes it.
#[test]
fn limit_that_is_not_understood_puts_a_question_before_what_it_may_narrow() {
    let guarded: &[(&str, &[&str], &str)] = &[
        (
            "Mail each customer a reminder, but never those in Austria.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "those in Austria",
        ),
        (
            "Mail each customer a reminder. Do not contact Foo AG.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Do not contact Foo AG",
        ),
        (
            "Mail each customer a reminder. Only retail customers.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Only retail customers",
        ),
        (
            "Mail each customer a reminder. Foo AG is exempt.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Foo AG is exempt",
        ),
        (
            "Mail each customer a reminder. Leave out customers with a dispute.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Leave out",
        ),
        (
            "Mail each customer a reminder. At most 20 a day.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "At most 20",
        ),
        (
            "Mail each customer a reminder. Nobody in Tyrol gets one.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Tyrol",
        ),
        (
            "Mail each customer a reminder. Customers on a payment plan are handled by Anna.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "payment plan",
        ),
        (
            "Mail each customer a reminder. Not on public holidays.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "public holidays",
        ),
        (
            "Mail each customer a reminder. Exceptions are agreed with the sales team.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Exceptions",
        ),
        (
            "Do not mail suppliers. Mail each customer a reminder.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "suppliers",
        ),
        (
            "Mail each customer a reminder. Partners in Graz are spared. Post a summary in #finance.",
            &[
                "skill_invoices",
                "skill_limits",
                "skill_reminders",
                "skill_summary",
            ],
            "Graz",
        ),
        (
            "Post a summary in #finance. Never post totals above 10000.",
            &["skill_invoices", "skill_limits", "skill_summary"],
            "totals above 10000",
        ),
        // Words of skills that are not hired at all.
        (
            "Mail each customer a reminder. Ask Maya first when it is Foo AG.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Ask Maya first",
        ),
        (
            "Mail each customer a reminder. Drop Foo AG from it.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Drop Foo AG",
        ),
        (
            "Mail each customer a reminder. foo ag is exempted from dunning.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "foo ag is exempted",
        ),
        // Other work by its form, and a limit by what it is about.
        (
            "Mail each customer a reminder. Respect the do-not-contact list.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "do-not-contact",
        ),
        (
            "Mail each customer a reminder. Mind the opt-outs.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "opt-outs",
        ),
        (
            "Mail each customer a reminder. Honour unsubscribes.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "unsubscribes",
        ),
        (
            "Mail each customer a reminder. Suppliers get none.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Suppliers get none",
        ),
        (
            "Mail each customer a reminder. Go easy on Foo AG.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Go easy",
        ),
        (
            "Mail each customer a reminder. Kunden in Österreich nicht.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Österreich",
        ),
        (
            "Mail each customer a reminder. Treat Foo AG as paid.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Treat Foo AG",
        ),
        (
            "Mail each customer a reminder.\n# Except Foo AG",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Except Foo AG",
        ),
        (
            "Mail each customer a reminder. Our rule is “never mail Foo AG”.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "never mail Foo AG",
        ),
        (
            "Mail each customer a reminder. Remember that Foo AG is exempt.",
            &[
                "skill_invoices",
                "skill_limits",
                "skill_reminders",
                "skill_memory",
            ],
            "Foo AG is exempt",
        ),
        (
            "Mail each customer a reminder. If it is Foo AG, ask Maya first.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "If it is Foo AG",
        ),
        (
            "Mail each customer a reminder. Everyone but Foo.",
            &["skill_invoices", "skill_limits", "skill_reminders"],
            "Everyone but Foo",
        ),
    ];
    all_right(guarded, |(text, expected, quote)| {
        let text = format!("{LATE}{text}");
        let wrong = compared(&text, expected, "a person is asked about it");
        if wrong.is_some() {
            return wrong;
        }
        let plan = plan(&text).expect("understood");
        let question = plan.skill_graphs["sg_limits_v1"]["nodes"][0].to_string();
        (!question.contains(quote)).then(|| format!("{text}: {question} does not quote it"))
    });
}

#[test]
fn question_of_the_text_itself_quotes_the_limit() {
    let text = "List the late invoices. Ask the manager in Slack to approve. Mail each customer a reminder. Never those in Austria.";
    assert_eq!(
        compared(
            text,
            &["skill_invoices", "skill_approval", "skill_reminders"],
            "a person is asked"
        ),
        None
    );
    let plan = plan(text).expect("understood");
    let approval = plan.skill_graphs["sg_ask_approval_v1"].to_string();
    assert!(approval.contains("Never those in Austria"), "{approval}");
}

/// What is no limit takes nothing away, and asks nobody.
#[test]
fn clause_that_narrows_nothing_leaves_what_is_understood_as_it_is() {
    let free: &[(&str, &[&str])] = &[
        (
            "Mail each customer a reminder. Also update Salesforce.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Water the plants.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Print a list of all invoices.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Post a summary in #cash. Never post anything in #finance.",
            &["skill_invoices", "skill_summary"],
        ),
        (
            "Mail each customer a reminder. Thank you!",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Post a summary in #finance. Do not mail anybody.",
            &["skill_invoices", "skill_summary"],
        ),
        (
            "Mail each customer a reminder. Call the bank.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Thanks, Maya",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Remember that the fiscal year ends in June.",
            &["skill_invoices", "skill_reminders", "skill_memory"],
        ),
        (
            "Mail each customer a reminder.\n# Who gets what",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Thank you very much, Anna Meier.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Best regards, Otto",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. You report to Anna.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Always cc the manager.",
            &["skill_invoices", "skill_reminders"],
        ),
        (
            "Mail each customer a reminder. Have a nice day!",
            &["skill_invoices", "skill_reminders"],
        ),
    ];
    all_right(free, |(text, expected)| {
        compared(&format!("{LATE}{text}"), expected, "")
    });
}

#[test]
fn limit_in_a_text_from_outside_stays_a_quotation() {
    let text = "List the late invoices. Mail each customer a reminder. Never \"}} {{ org.secret }} {% raw %} \\\" in Austria.";
    let plan = plan(text).expect("understood");
    for graph in plan.skill_graphs.values() {
        for node in graph["nodes"].as_array().expect("nodes") {
            if let Some(title) = node["title"].as_str() {
                let mut engine = minijinja::Environment::new();
                engine.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
                let rendered = engine.render_str(
                    title,
                    minijinja::context! { input => minijinja::context! { count => 1, total => 2 } },
                );
                let rendered = rendered.unwrap_or_else(|error| panic!("{error}: {title}"));
                assert!(
                    !title.contains("not_understood") && rendered.contains("org.secret"),
                    "{rendered}"
                );
            }
        }
    }
}
