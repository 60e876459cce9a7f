//! Many sessions and many reports in one call.

use serde_json::{Value, json};

use super::start;

#[test]
fn a_batch_answers_each_session_in_its_place() {
    let dwell = start();
    let one = |key: &str| json!({"runtime": "shell", "action": {"command": ["true"]}, "key": key});
    let unknown = json!({"runtime": "x", "action": {"command": ["true"]}});
    let sessions = json!([one("a"), {"runtime": "shell"}, one("a"), unknown, one("b")]);
    let (status, answer) = dwell.post("/v1/sessions/batch", &json!({"sessions": sessions}));
    assert_eq!(status, 200, "{answer}");
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<u64> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 200, 422, 201], "{answer:#}");
    assert_eq!(items[0]["record"]["id"], items[2]["record"]["id"]);
    assert_eq!(items[1]["problem"]["field"], "sessions[1].action");
    assert_eq!(dwell.get("/v1/sessions").1["items"].as_array().unwrap().len(), 2);

    let many = vec![json!({}); 1_001];
    for wrong in [json!({}), json!({"sessions": []}), json!({"sessions": [5]}), json!({"sessions": many})] {
        assert_eq!(dwell.post("/v1/sessions/batch", &wrong).0, 400);
    }
}

#[test]
fn many_reports_are_each_proven_and_answered() {
    let dwell = start();
    let (a, b) = (dwell.session(None), dwell.session(None));
    let (_, answer) = dwell.post(
        "/v1/reports",
        &json!({"reports": [
            {"record": a, "attempt": 1, "type": "session", "id": "s-1", "token": "right"},
            {"record": a, "attempt": 1, "type": "succeeded", "result": "done"},
            {"record": b, "attempt": 1, "type": "succeeded", "token": "wrong"},
            {"record": b, "attempt": 2, "type": "heartbeat"},
            {"record": &b[..12], "attempt": 1, "type": "heartbeat"},
        ]}),
    );
    let items = answer["items"].as_array().unwrap();
    let codes: Vec<&Value> = items.iter().map(|item| &item["problem"]["code"]).collect();
    let refused = ["bad_token", "stale_attempt", "bad_request"].map(Value::from);
    assert_eq!(codes, [&Value::Null, &Value::Null, &refused[0], &refused[1], &refused[2]], "{answer:#}");
    assert_eq!(items[1]["record"]["state"], "completed");
    assert_eq!(items[1]["record"]["resume_token"], "s-1");
    assert_eq!(dwell.get(&format!("/v1/records/{b}")).1["state"], "active");
}
