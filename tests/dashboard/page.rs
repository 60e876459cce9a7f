//! A page as a person has it: looked at, clicked, typed into. Nothing here waits for a time, only for what is seen.

use serde_json::{Value, json};

use crate::browser::Browser;

/// The longest that anything may take to be seen.
const SEEN_WITHIN_MS: u32 = 60_000;

/// Where the pointer, or a screen, is small or dark.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub scheme: &'static str,
}

pub const WIDE: Look = Look { width: 1440, height: 900, scheme: "light" };

/// One tab, with everything it complained of.
pub struct Page {
    browser: Browser,
    session: String,
    /// Every tab, in the order in which they were opened; the page is the one that is looked at.
    tabs: Vec<String>,
    /// Chromium logs each answer that is no success; these addresses may have one.
    pub expected: Vec<&'static str>,
}

impl Page {
    pub fn open(url: &str, look: Look) -> Page {
        let browser = Browser::start();
        let mut page = Page { browser, session: String::new(), tabs: Vec::new(), expected: Vec::new() };
        page.open_tab();
        page.look(look);
        page.go(url);
        page
    }

    /// One more, in front of the others.
    pub fn open_tab(&mut self) {
        let target = self.browser.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.browser.call(None, "Target.attachToTarget", &attach);
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        self.tabs.push(session.clone());
        self.session = session;
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Brings a tab to the front; the first is 0.
    pub fn turn_to_tab(&mut self, at: usize) {
        self.session = self.tabs[at].clone();
        self.call("Page.bringToFront", &json!({}));
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    pub fn look(&mut self, Look { width, height, scheme }: Look) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media);
    }

    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
        self.until("document.readyState === 'complete' && document.querySelector('main')");
    }

    /// Another view of the same page, by its address; nothing is loaded anew.
    pub fn turn_to(&mut self, view: &str) {
        self.eval(&format!("location.hash = {}", json!(format!("#/{view}"))));
    }

    /// What an expression is, once it is settled.
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", &asked);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown:#}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression holds, and answers what it is then.
    pub fn until(&mut self, expression: &str) -> Value {
        let wait = format!(
            "new Promise((seen, not) => {{
                const end = performance.now() + {SEEN_WITHIN_MS};
                const look = () => {{
                    let value = null;
                    try {{ value = {expression}; }} catch {{ value = null; }}
                    if (value) seen(value instanceof Node ? true : value);
                    else if (performance.now() > end) not(new Error('not seen: ' + document.body.innerText.slice(0, 2000)));
                    else setTimeout(look, 20);
                }};
                look();
            }})"
        );
        self.eval(&wait)
    }

    /// Waits until something that CSS selects is there and shows a text.
    pub fn sees(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!(
            "[...document.querySelectorAll({selector})].some(node => (node.innerText ?? node.textContent).includes({text}))"
        ));
    }

    /// Clicks in the middle of the first thing that CSS selects and that shows a text, once it is there.
    pub fn click(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        let place = self.until(&format!(
            "(() => {{
                const node = [...document.querySelectorAll({selector})]
                    .find(node => node.textContent.includes({text}) && !node.disabled);
                if (!node) return null;
                node.scrollIntoView({{ block: 'center', inline: 'center', behavior: 'instant' }});
                const box = node.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                // Where it was a moment ago as well, with nothing above it.
                const rests = node.seenAt === `${{x}} ${{y}}`;
                node.seenAt = `${{x}} ${{y}}`;
                return rests && node.contains(document.elementFromPoint(x, y)) ? {{ x, y }} : null;
            }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let mouse =
                json!({"type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &mouse);
        }
    }

    /// Into whatever has the focus.
    pub fn types(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    pub fn press(&mut self, key: &str) {
        let text = if key.len() == 1 { key } else { "" };
        // The browser's own keys are known to it by number.
        let code = if key == "Escape" { 27 } else { 0 };
        let down = json!({"type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", &down);
        self.call("Input.dispatchKeyEvent", &json!({"type": "keyUp", "key": key}));
    }

    /// What the console has that no page of ours may say: errors, exceptions, violations of the policy.
    pub fn faults(&mut self) -> Vec<String> {
        self.eval("1");
        let expected = &self.expected;
        let wrong = self.browser.events.iter().filter(|event| {
            let (method, of) = (event["method"].as_str().unwrap_or_default(), &event["params"]);
            match method {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => of["type"] == "error" || of["type"] == "warning",
                "Log.entryAdded" => {
                    let url = of["entry"]["url"].as_str().unwrap_or_default();
                    of["entry"]["level"] == "error" && !expected.iter().any(|part| url.contains(part))
                }
                _ => false,
            }
        });
        wrong.map(ToString::to_string).collect()
    }

    pub fn is_clean(&mut self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
