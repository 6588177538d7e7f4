//! Schedules beyond cron, the calendars that they go by, and the zone in which an employee's days begin.

use super::world::{employee_of, pure, world};
use serde_json::{Value, json};

fn with_schedule(name: &str, mut schedule: Value) -> Value {
    schedule["name"] = "often".into();
    let mut body = pure(name);
    body["schedules"] = json!([schedule]);
    body
}

fn moments(times: &Value) -> Vec<String> {
    let times = times.as_array().expect("a list").iter();
    times
        .map(|time| time.as_str().expect("a time").to_owned())
        .collect()
}

#[tokio::test]
async fn recurrences_beyond_cron_are_kept_and_shown_with_their_next_five_times() {
    let world = world().await;
    let cases = [
        json!({"cron": "0 9 * * 1-5", "start": "2030-01-01", "time_zone": "Europe/Zurich"}),
        json!({"every": {"minutes": 90}}),
        json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "at": ["09:00"], "time_zone": "America/New_York"}),
        json!({"rrule": "FREQ=YEARLY;BYMONTH=3,6,9,12;BYMONTHDAY=-1", "at": ["17:00"]}),
        json!({"working_day": {"nth": -1, "of": "month"}, "at": ["08:00", "16:00"]}),
        json!({"cron": "0 9 1 * *", "off_days": "next", "until": "2090-01-01"}),
    ];
    for (place, case) in cases.iter().enumerate() {
        let body = with_schedule(&format!("clerk {place}"), case.clone());
        let dry = world
            .manager
            .post("/v1/employees?dry_run=true", body.clone())
            .await;
        let next = moments(&dry.body["next"]["often"]);
        assert_eq!(next.len(), 5, "{case}: {dry:?}");
        assert!(next.windows(2).all(|pair| pair[0] < pair[1]), "{next:?}");
        let employee = world.manager.hire(body).await;
        let list = format!("/v1/schedules?employee_id={employee}");
        let listed = world.viewer.get(&list).await;
        let schedule = &listed.body["items"][0];
        for (field, value) in case.as_object().expect("an object") {
            assert_eq!(&schedule[field], value, "{case}: {schedule}");
        }
        assert_eq!(schedule["next"], dry.body["next"]["often"], "{case}");
        assert_eq!(schedule["next"][0], schedule["next_due_at"], "{case}");
        // What was left open is filled in, and what is shown can be given back as it is.
        let shown = world
            .viewer
            .get(&format!("/v1/employees/{employee}/graph"))
            .await;
        let graph = json!({
            "graph": shown.body["graph"], "skill_graphs": shown.body["skill_graphs"], "schedules": shown.body["schedules"],
        });
        let path = format!("/v1/employees/{employee}/graph");
        let again = world.manager.put(&path, graph).await;
        assert_eq!(again.status, 200, "{case}: {again:?}");
    }
}

#[tokio::test]
async fn a_wrong_recurrence_is_refused_with_its_field() {
    let world = world().await;
    let cases = [
        (json!({"cron": "0 0 30 2 *"}), "cron"),
        (json!({"cron": "0 0 31 4,6 *"}), "cron"),
        (json!({}), "cron"),
        (json!({"rrule": "FREQ=DAILY"}), "at"),
        (json!({"rrule": "FREQ=MINUTELY", "at": ["09:00"]}), "rrule"),
        (json!({"every": {"minutes": 0}}), "every"),
        (
            json!({"working_day": {"nth": 99, "of": "month"}, "at": ["09:00"]}),
            "working_day.nth",
        ),
        (
            json!({"cron": "0 9 * * *", "calendar": "nobody's"}),
            "calendar",
        ),
        (json!({"cron": "0 9 * * *", "until": "some day"}), "until"),
        (
            json!({"cron": "0 9 * * *", "time_zone": "Eastern"}),
            "time_zone",
        ),
    ];
    for (case, field) in cases {
        let answer = world
            .manager
            .post("/v1/employees", with_schedule("x", case.clone()))
            .await;
        let problem = answer.problem(422, "invalid_schedule");
        assert_eq!(problem["field"], format!("schedules[0].{field}"), "{case}");
    }
    let unknown = with_schedule("x", json!({"cron": "0 9 * * *", "evry": 3}));
    let answer = world.manager.post("/v1/employees", unknown).await;
    assert_eq!(
        answer.problem(422, "invalid_field")["field"],
        "schedules[0].evry"
    );
}

#[tokio::test]
async fn a_changed_calendar_moves_what_is_due() {
    let world = world().await;
    let path = "/v1/calendars/bern";
    let put = async |body: Value| world.admin.put(path, body).await;
    let made = put(json!({"holidays": {}})).await;
    assert_eq!(
        made.body["week"],
        json!(["mon", "tue", "wed", "thu", "fri"]),
        "{made:?}"
    );
    // A date that is a working day: Monday, 7 January 2058.
    let schedule =
        json!({"cron": "0 9 7 1 *", "start": "2058-01-01", "calendar": "bern", "off_days": "next"});
    let employee = world.manager.hire(with_schedule("clerk", schedule)).await;
    let list = format!("/v1/schedules?employee_id={employee}");
    let due = async || world.viewer.get(&list).await.body["items"][0]["next_due_at"].clone();
    assert_eq!(due().await, "2058-01-07T09:00:00.000Z");
    let holidays = json!({"2058-01-07": "Founder's day", "2058-01-08": "The day after"});
    assert_eq!(put(json!({"holidays": holidays})).await.status, 200);
    assert_eq!(due().await, "2058-01-09T09:00:00.000Z");
    let shown = world.viewer.get(path).await;
    assert_eq!(shown.body["holidays"], holidays);
    assert_eq!(put(json!({"week": ["sat"]})).await.status, 200);
    assert_eq!(due().await, "2058-01-12T09:00:00.000Z");

    let used = world.admin.delete(path).await;
    assert_eq!(used.problem(422, "invalid_field")["field"], "name");
    assert_eq!(
        world
            .admin
            .put("/v1/calendars/spare", json!({}))
            .await
            .status,
        200
    );
    assert_eq!(world.admin.delete("/v1/calendars/spare").await.status, 204);
    world
        .admin
        .delete("/v1/calendars/spare")
        .await
        .problem(404, "not_found");
    world.other_org.get(path).await.problem(404, "not_found");
    assert_eq!(
        world.other_org.get("/v1/calendars").await.body["items"],
        json!([])
    );
    let refused = [
        (json!({"week": []}), "week"),
        (
            json!({"holidays": {"2058-01-07": ""}}),
            "holidays.2058-01-07",
        ),
        (json!({"days": {}}), "days"),
    ];
    for (body, field) in refused {
        assert_eq!(
            put(body).await.problem(422, "invalid_field")["field"],
            field
        );
    }
    let not_admin = world.manager.put(path, json!({})).await;
    assert_eq!(not_admin.status, 403);
}

#[tokio::test]
async fn todays_date_is_that_of_the_employees_zone() {
    let world = world().await;
    let nodes = json!([{"id": "n", "type": "transform", "output": {
        "zone": "run.time_zone", "today": "run.today", "same": "today() == date(run.at, run.time_zone)",
        "text": {"$text": "It is {{ run.today }} in {{ run.time_zone }}."},
    }}]);
    let today = |zone: &str| {
        let zone: chrono_tz::Tz = zone.parse().expect("a zone");
        chrono::Utc::now()
            .with_timezone(&zone)
            .date_naive()
            .to_string()
    };
    let patch = json!({"time_zone": "Pacific/Kiritimati"});
    let cases = [
        ("none said", json!({}), "UTC"),
        (
            "its own",
            json!({"time_zone": "Pacific/Pago_Pago"}),
            "Pacific/Pago_Pago",
        ),
        (
            "its schedules'",
            json!({"schedules": [{"name": "a", "cron": "0 9 1 1 *", "time_zone": "Asia/Kathmandu"}]}),
            "Asia/Kathmandu",
        ),
        ("the org's", json!({}), "Pacific/Kiritimati"),
        (
            "its own before the org's",
            json!({"time_zone": "America/Santiago"}),
            "America/Santiago",
        ),
    ];
    for (name, extra, zone) in cases {
        if name == "the org's" {
            let request = world.admin.request(reqwest::Method::PATCH, "/v1/org");
            let patched = super::world::send(request.json(&patch)).await;
            assert_eq!(
                patched.body["settings"]["time_zone"], "Pacific/Kiritimati",
                "{patched:?}"
            );
        }
        let mut body = employee_of(name, nodes.clone());
        for (key, value) in extra.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let employee = world.manager.hire(body).await;
        let before = today(zone);
        let done = world.operator.work(&employee, json!({})).await;
        let result = &done.body["result"];
        assert_eq!(
            (&result["zone"], &result["same"]),
            (&json!(zone), &json!(true)),
            "{name}: {done:?}"
        );
        assert!(
            [&before, &today(zone)].contains(&&result["today"].as_str().expect("a day").to_owned()),
            "{name}: {result}"
        );
        let text = format!(
            "It is {} in {zone}.",
            result["today"].as_str().unwrap_or_default()
        );
        assert_eq!(result["text"], text, "{name}");
    }
    let wrong = json!({"time_zone": "Mars/Base"});
    let request = world.admin.request(reqwest::Method::PATCH, "/v1/org");
    let answer = super::world::send(request.json(&wrong)).await;
    assert_eq!(answer.problem(422, "invalid_field")["field"], "time_zone");
    let mut body = pure("martian");
    body["time_zone"] = "Mars/Base".into();
    let answer = world.manager.post("/v1/employees", body).await;
    assert_eq!(answer.problem(422, "invalid_field")["field"], "time_zone");
}
