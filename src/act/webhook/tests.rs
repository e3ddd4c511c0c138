//! Tests against a real HTTP server on loopback that counts calls by id, and hangs, dies or errs as told.

use super::*;
use crate::act::ledger::Ledger;
use crate::act::server::{Reply, Server};
use crate::record::{ActionClass, ActionId, DecisionId, IncidentId, Verb};

fn order(name: &str, class: ActionClass) -> Order {
    Order {
        action_id: ActionId::of(&[name.as_bytes()]),
        tenant: "default".to_owned(),
        decision_id: DecisionId::of(&[b"d"]),
        incident_id: IncidentId::of(&[b"i"]),
        playbook: "p".to_owned(),
        use_case: "phishing".to_owned(),
        step: "action--1".to_owned(),
        agent: "Firewall".to_owned(),
        verb: Verb::Deny,
        target: "ip:203.0.113.1".to_owned(),
        parameters: serde_json::json!({"action": "deny"}),
        class,
        ttl_s: Some(60),
        undo_of: None,
        timeout_ms: None,
        requested: 10,
    }
}

fn settings(server: &Server) -> WebhookSettings {
    WebhookSettings {
        url: server.url("/orders"),
        probe_url: Some(server.url("/probe")),
        authorization_env: None,
        allow_link_local: false,
        timeout_ms: 300,
        retries_max: 2,
        backoff_ms: 5,
        parallel_max: 4,
    }
}

/// Calls, as who has a ledger.
fn called(webhook: &Webhook, orders: &[Order]) -> Vec<Answer> {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), None).unwrap();
    let lease = Arc::new(ledger.lease().unwrap());
    lease.awake(webhook.now());
    webhook.call(orders, &lease)
}

fn call(server: &Server, class: ActionClass) -> Answer {
    called(&Webhook::new(settings(server)).unwrap(), &[order("a", class)]).remove(0)
}

#[test]
fn an_order_is_posted_with_its_key_and_secret() {
    let server = Server::start(|_, _| Reply::Status(200));
    // The test runner sets this one: a secret is read from the environment by name.
    let settings =
        WebhookSettings { authorization_env: Some("CARGO_PKG_NAME".to_owned()), ..settings(&server) };
    let webhook = Webhook::new(settings).unwrap();
    let orders: Vec<Order> = (0..9).map(|i| order(&format!("o{i}"), ActionClass::Keyed)).collect();
    assert_eq!(called(&webhook, &orders), vec![Answer::Done { attempts: 1 }; 9]);
    for order in &orders {
        let calls = server.calls_of(&order.action_id.to_string());
        assert_eq!((calls.len(), calls[0].authorization.as_str()), (1, "Bearer quell"));
        let body: serde_json::Value = serde_json::from_str(&calls[0].body).unwrap();
        for field in ["action_id", "verb", "target", "parameters", "ttl_s", "incident_id"] {
            assert!(body.get(field).is_some(), "{field}");
        }
    }
}

#[test]
fn a_secret_is_a_bearer_token_unless_it_names_its_scheme() {
    for (secret, sent) in [
        ("supersecret", Some("Bearer supersecret")),
        ("a.b-c_d~e+f/g==", Some("Bearer a.b-c_d~e+f/g==")),
        ("Bearer x", Some("Bearer x")),
        ("Basic dXNlcjpwdw==", Some("Basic dXNlcjpwdw==")),
        ("Token x", Some("Token x")),
        ("SSWS x", Some("SSWS x")),
        ("secret ", Some("Bearer secret ")),
        ("two\nlines", None),
    ] {
        let value = authorization(secret);
        assert_eq!(value.as_ref().map(|value| value.to_str().unwrap()), sent, "{secret:?}");
        assert!(value.is_none_or(|value| value.is_sensitive()), "{secret:?}");
    }
}

#[test]
fn answers_are_judged() {
    for (statuses, class, wanted, posts) in [
        (vec![500, 200], ActionClass::Idempotent, Answer::Done { attempts: 2 }, 2),
        (vec![429, 408, 200], ActionClass::Opaque, Answer::Done { attempts: 3 }, 3),
        (vec![400], ActionClass::Keyed, Answer::Refused { attempts: 1, what: "HTTP 400".to_owned() }, 1),
        (vec![503; 9], ActionClass::Keyed, Answer::Unknown { attempts: 3, what: "HTTP 503".to_owned() }, 3),
        (vec![500, 409], ActionClass::Keyed, Answer::Unknown { attempts: 2, what: "HTTP 409".to_owned() }, 2),
        (vec![500], ActionClass::Opaque, Answer::Unknown { attempts: 1, what: "HTTP 500".to_owned() }, 1),
    ] {
        let script = statuses.clone();
        let server = Server::start(move |_, nth| Reply::Status(script[nth]));
        assert_eq!(call(&server, class), wanted, "{statuses:?}");
        assert_eq!(server.posts(), posts, "{statuses:?}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let server =
        Server::start(|call, _| if call.path == "/orders" { Reply::Redirect } else { Reply::Status(200) });
    assert!(matches!(call(&server, ActionClass::Idempotent), Answer::Refused { attempts: 1, .. }));
    assert_eq!(server.posts(), 1);
}

#[test]
fn a_hang_or_a_broken_connection_is_doubt() {
    for reply in [Reply::Hang, Reply::Die] {
        let server = Server::start(move |_, _| reply);
        assert!(matches!(call(&server, ActionClass::Opaque), Answer::Unknown { attempts: 1, .. }));
        assert_eq!(server.posts(), 1, "an opaque order is never repeated");
        assert!(matches!(call(&server, ActionClass::Idempotent), Answer::Unknown { attempts: 3, .. }));
        assert_eq!(server.posts(), 4);
    }
}

#[test]
fn a_probeable_order_is_read_back() {
    let done = Server::start(|call, _| if call.method == "GET" { Reply::Status(200) } else { Reply::Die });
    assert_eq!(call(&done, ActionClass::Probeable), Answer::Done { attempts: 1 });
    assert_eq!(done.posts(), 1);
    let absent = Server::start(|call, nth| match (call.method.as_str(), nth) {
        ("GET", _) => Reply::Status(404),
        (_, 0) => Reply::Status(500),
        (_, _) => Reply::Status(200),
    });
    assert_eq!(call(&absent, ActionClass::Probeable), Answer::Done { attempts: 2 });
    let mute = Server::start(|_, _| Reply::Status(500));
    assert!(matches!(call(&mute, ActionClass::Probeable), Answer::Unknown { attempts: 1, .. }));
    assert_eq!(mute.posts(), 1);
}

#[test]
fn what_never_arrived_is_refused_not_in_doubt() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings: WebhookSettings =
        serde_json::from_value(serde_json::json!({"url": format!("http://{free}/"), "backoff_ms": 1}))
            .unwrap();
    let answer = called(&Webhook::new(settings).unwrap(), &[order("a", ActionClass::Opaque)]).remove(0);
    assert!(matches!(answer, Answer::Refused { attempts: 4, .. }), "{answer:?}");
}

#[test]
fn no_spelling_of_a_metadata_address_is_called() {
    let settings =
        |url: &str| -> WebhookSettings { serde_json::from_value(serde_json::json!({ "url": url })).unwrap() };
    for host in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "0xA9.0xFE.0xA9.0xFE",
        "[fe80::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "0",
        "[::]",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "169。254。169。254",
        "①⑥⑨.254.169.254",
        "169.254.169.254.",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}/latest/meta-data");
            assert!(Webhook::new(settings(&url)).is_err(), "{url}");
        }
    }
    for url in ["ftp://example.org/", "file:///etc/passwd", "http://u:p@example.org/", "nonsense", "http://"]
    {
        assert!(Webhook::new(settings(url)).is_err(), "{url}");
    }
    let mut allowed = settings("http://169.254.169.254/");
    allowed.allow_link_local = true;
    Webhook::new(allowed).unwrap();
    Webhook::new(settings("https://soar.corp.example/orders")).unwrap();
}

#[test]
fn a_name_that_leads_to_a_metadata_address_is_not_called() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let resolve = |name: &str, allow_link_local| {
        let guard = Guard { allow_link_local };
        let name: Name = name.parse().expect("a name");
        runtime.block_on(async {
            guard.resolve(name).await.map(Iterator::count).map_err(|error| error.to_string())
        })
    };
    // The resolver is what every name passes at connection: one that answers with such an address is turned away.
    let refused = resolve("169.254.169.254", false).expect_err("refused");
    assert!(refused.contains("is not called"), "{refused}");
    assert_eq!(resolve("169.254.169.254", true), Ok(1));
    assert!(resolve("localhost", false).is_ok());
}

#[test]
fn errors_hold_no_secret() {
    let text = r#"{"url": "http://user:hunter2@example.org/"}"#;
    let error = Webhook::new(serde_json::from_str(text).unwrap()).err().unwrap();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
