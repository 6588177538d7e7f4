use super::*;
use crate::{
    domain::{ExecutionId, MemoryView, Timestamp, Trigger, TriggerType},
    graph::budget::FUEL,
};
use serde_json::json;
use std::collections::HashMap;

fn text(source: &str) -> Result<Text, String> {
    let mut texts = TextSet::default();
    let names = Names {
        steps: &HashMap::new(),
        output: false,
        item: None,
        call: false,
    };
    let text = texts.compile(source, &names)?;
    texts.finish();
    Ok(text)
}

fn rendered(
    source: &str,
    input: &Value,
    markup: Markup,
    budget: &Budget,
) -> Result<String, EvalError> {
    let trigger = Trigger {
        kind: TriggerType::DirectCommand,
        payload: Arc::new(json!({})),
        source: String::new(),
    };
    let memory = MemoryView::default();
    let data = Data {
        trigger: &trigger,
        execution: ExecutionId::from_uuid(uuid::Uuid::nil()),
        at: Timestamp::default(),
        zone: chrono_tz::Tz::UTC,
        input,
        skills: &[],
        nodes: &[],
        ids: [&[], &[]],
        memory: &memory,
        skill: None,
        output: None,
        item: None,
        item_name: "item",
        call: None,
    };
    let text = text(source).unwrap_or_else(|message| panic!("{source}: {message}"));
    text.render(&data, markup, budget)
}

fn plain(source: &str, input: &Value) -> Result<String, EvalError> {
    rendered(source, input, Markup::Plain, &Budget::new(FUEL))
}

#[test]
fn texts_say_what_they_say() {
    let input = json!({"n": 3, "f": 510.0, "t": "Ab", "list": [3, 1, 2], "o": {"z": 1, "y": "v"}, "none": null});
    for (source, expected) in [
        ("no tag at all", "no tag at all"),
        ("{{ input.t }} and {{ input.n + 1 }}", "Ab and 4"),
        ("{{ input.t ~ '-' ~ input.n }}", "Ab-3"),
        ("{{ input.t + 'c' }}{{ 2 * 3 }}{{ 'ab' * 2 }}", "Abc6abab"),
        (
            "{{ [1] + [2] }}{% set l = input.list %}{{ (l + [9])[1:] }}",
            "[1, 2][1, 2, 9]",
        ),
        (
            "{{ input.list[0] }}{{ input.list[:2] }}{{ input.t[::-1] }}",
            "3[3, 1]bA",
        ),
        ("{{ input.o.y }}{{ input.o['z'] }}", "v1"),
        (
            "{% for x in input.list %}{{ loop.index }}:{{ x }} {% endfor %}",
            "1:3 2:1 3:2 ",
        ),
        (
            "{% for x in input.list %}{% if x > 1 %}{{ x }}{% endif %}{% endfor %}",
            "32",
        ),
        ("{% for x in [] %}a{% else %}none{% endfor %}!", "none!"),
        (
            "{% if input.n == 3 and not input.n != 3 %}yes{% else %}no{% endif %}",
            "yes",
        ),
        (
            "{{ 'yes' if input.n >= 3 and 1 < input.n <= 3 else 'no' }}{{ 'x' if false }}",
            "yes",
        ),
        (
            "{% if 2 in input.list and 5 not in input.list and 'z' in input.o %}all{% endif %}",
            "all",
        ),
        (
            "{% set a = input.t %}{% set b %}<{{ a }}>{% endset %}{{ b | upper }}",
            "<AB>",
        ),
        (
            "{% macro m(x, y=2) %}{{ x }}/{{ y }};{% endmacro %}{{ m(1) }}{{ m(1, y=3) }}",
            "1/2;1/3;",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for x in input.list %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
            "6",
        ),
        (
            "{{ input.list | sort | join(', ') }}{{ input.list | sum }}",
            "1, 2, 36",
        ),
        (
            "{{ input.missing | default('-') }}{{ input.none | default('x', true) }}",
            "-x",
        ),
        (
            "{{ input.list | map('string') | list | length }}{{ input.list | batch(2) | list }}",
            "3[[3, 1], [2]]",
        ),
        ("{{ input.list | select('odd') | list }}", "[3, 1]"),
        (
            "{{ '<' | e }}{{ 'a,b' | replace(',', ';') }}{{ 'a b' | title }}",
            "&lt;a;bA B",
        ),
        ("{% filter upper %}a{{ input.t }}{% endfilter %}", "AAB"),
        (
            "{{ input.f | money('EUR') }} {{ 4820.5 | money({'value': 'USD'}) }} {{ 7 | money(input.missing) }}",
            "510.00 EUR 4,820.50 USD 7 (currency not told)",
        ),
        (
            "{{ [{'amount': 1, 'currency': 'JPY'}, {'amount': 2, 'currency': 'JPY'}] | sum_money | money }}",
            "3 JPY",
        ),
    ] {
        let found = plain(source, &input);
        assert_eq!(found.as_deref(), Ok(expected), "{source}");
    }
    for (source, part) in [
        ("{{ input.missing }}", "undefined"),
        ("{{ input.missing ~ 'a' }}", "undefined"),
        ("{{ input.missing == 1 }}", "undefined"),
        ("{{ input.missing.more }}", "undefined"),
        ("{{ input.t + 1 }}", "+ operator"),
    ] {
        let error = plain(source, &input).unwrap_err().to_string();
        assert!(error.contains(part), "{source}: {error}");
    }
    for source in [
        "{% include 'text 0' %}",
        "{% extends input.t %}",
        "{{ nobody }}",
        "{{ 1 + }}",
    ] {
        assert!(text(source).is_err(), "{source}");
    }
}

/// The operators and literals that are exchanged do what the engine's own do.
#[test]
fn a_metered_text_is_the_one_that_the_engine_makes() {
    let input = json!({"n": 3, "f": 2.5, "t": "Ab<&>", "list": [3, 1, 2], "o": {"z": 1, "y": [1, "x"]}, "none": null, "yes": true});
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    for source in [
        "{{ input }}{{ input.none }}{{ input.yes }}{{ input.f }}{{ input.o }}",
        "{{ input.n + 1.5 }}{{ input.n * input.f }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 5 }}{{ -input.n }}",
        "{{ 'a' < 'b' }}{{ [1] == [1] }}{{ input.o == input.o }}{{ 1 <= 2 }}{{ input.none == none }}",
        "{{ 1 in input.list }}{{ 'b' in input.t }}{{ 9 not in input.list }}{{ 1 < input.n < 9 }}",
        "{{ input.list[1:] }}{{ input.list[::-1] }}{{ input.t[-2:] }}{{ input.list[-1] }}{{ input.list[:0] }}",
        "{{ input.o | tojson }}{{ input.t | tojson }}{{ input.o | tojson(indent=2) }}",
        "{{ input.list | join }}{{ input.list | join('-') }}{{ input.o | items | list }}{{ input.o | dictsort }}",
        "{{ '%s has %05.1f' | format(input.t, input.f) }}{{ input.list | max }}{{ input.list | reverse | list }}",
        "{{ input.list | groupby(attribute='x') | list if false else 'none' }}{{ [1, 1, 2] | unique | list }}",
        "{{ range(3) | list }}{{ dict(a=1) }}{{ (1, 2) + (3,) }}{{ [0] * 3 }}{{ 3 * 'ab' }}",
        "{% for k, v in input.o | items %}{{ k }}={{ v }};{% endfor %}{% for x in input.list recursive %}{{ x }}{% endfor %}",
        "{% for a in range(2) %}{% for b in range(2) %}{{ loop.index }}{{ a ~ b }}{% endfor %}{% endfor %}",
        "{% macro m(x) %}[{{ x }}{{ caller() }}]{% endmacro %}{% call m(1) %}inner{% endcall %}",
        "{% with a = 1 %}{{ a }}{% endwith %}{% set x, y = [1, 2] %}{{ x }}{{ y }}{% block b %}block{% endblock %}",
        "a {%- if true %} b {% endif -%} c\n{# note #}{% raw %}{{ x }}{% endraw %}",
    ] {
        let expected = engine
            .render_str(source, Jinja::from_pairs([("input", convert(&input))]))
            .unwrap_or_else(|error| panic!("{source}: {error}"));
        let found = plain(source, &input);
        assert_eq!(found.as_deref(), Ok(expected.as_str()), "{source}");
    }
}

/// Each of these would be hundreds of megabytes, or minutes, or too deep for the stack.
#[test]
fn a_text_ends_in_its_limits_whatever_it_is_made_of() {
    let map: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let input = json!({"map": map, "n": 90_000, "t": "x".repeat(900_000), "l": vec![0; 20_000], "s": "a".repeat(20_000), "rows": vec!["r"; 5_000]});
    let raw = format!(
        "{{% for i in range(90000) %}}{}{{% endfor %}}",
        "y".repeat(20_000)
    );
    let captured = format!("{{% set x %}}{raw}{{% endset %}}");
    let repeated =
        |first: &str, each: &str| format!("{{% set a = {first} %}}{}{{{{ a }}}}", each.repeat(60));
    let doubled = repeated("'xx'", "{% set a = a ~ a %}");
    let added = repeated("'xx'", "{% set a = a + a %}");
    let lists = repeated("[1]", "{% set a = a + a %}");
    let shared = repeated("[1]", "{% set a = [a, a] %}");
    let paths = format!(
        "{{{{ input.l | map(attribute='{}') | list }}}}",
        "a.".repeat(10_000)
    );
    let formats = format!("{{{{ '{}' | format(a=input.t) }}}}", "%(a)s".repeat(5_000));
    for source in [
        "{% for i in range(400) %}{{ input.t }}{% endfor %}",
        raw.as_str(),
        captured.as_str(),
        doubled.as_str(),
        added.as_str(),
        lists.as_str(),
        shared.as_str(),
        "{{ 'x' * 99999999 }}",
        "{{ input.t * 1000 }}",
        "{{ 1000 * input.t }}",
        "{{ (1, 2) * 49999999 }}",
        "{{ [0] * 99999999 }}",
        "{{ input.l | join(input.t) }}",
        "{{ input.l | join(d=input.t) }}",
        "{{ input.s | replace('a', input.t) }}",
        "{{ input.s | replace('', input.t) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '%*d' | format(999999999, 1) }}",
        "{{ input.s | indent(999999999) }}",
        "{{ input.l | batch(999999999, 'x') | list }}",
        "{{ input.l | slice(999999999) | list }}",
        "{{ input.l | tojson(indent=999999) }}",
        "{% for i in range(9000) %}{% set a = input.l | sum %}{% endfor %}",
        "{% for i in range(9000) %}{% set a = input.l | sort %}{% endfor %}",
        "{% for i in range(9000) %}{% if input.l == input.l | list %}a{% endif %}{% endfor %}",
        "{% for i in range(9000) %}{% if 7 in input.l %}a{% endif %}{% endfor %}",
        "{% for i in range(9000) %}{% if 1 < 2 < input.l %}a{% endif %}{% endfor %}",
        "{% for i in range(9000) %}{% set a = input.t[1:] %}{% endfor %}",
        "{% for i in range(9000) %}{% set a = input.t | upper %}{% endfor %}",
        "{{ input.l | select('in', input.l) | list }}",
        "{% for i in range(9000) %}{% set a %}{{ input.t }}{% endset %}{% endfor %}",
        "{% set ns = namespace(a='x') %}{% for i in range(9000) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
        "{% set ns = namespace(a=[]) %}{% for i in range(90000) %}{% set ns.a = [ns.a] %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(90000) %}{% set ns.a = ns.a | batch(1) %}{% endfor %}",
        "{% set ns = namespace(a=input.l) %}{% for i in range(90000) %}{% set ns.a = ns.a[1:] %}{% endfor %}",
        "{% macro m(a) %}{{ m(a ~ a) }}{% endmacro %}{{ m('x') }}",
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{{ debug() }}",
        "{% for i in range(90000) %}{% if loop.changed(input.l) %}{% endif %}{% endfor %}",
        "{% macro m() %}{% endmacro %}{% for i in range(90000) %}{{ m(*input.l) }}{% endfor %}",
        "{% for i in range(90000) %}{% set a = dict(**input.map) %}{% endfor %}",
        "{% for i in range(90000) %}{% set a = namespace(input.map) %}{% endfor %}",
        "{% for i in range(90000) %}{% set a = input.t[5] %}{% endfor %}",
        "{% for i in range(90000) %}{% set a = input[input.t] is defined %}{% endfor %}",
        paths.as_str(),
        formats.as_str(),
    ] {
        let shown: String = source.chars().take(90).collect();
        let ended = plain(source, &input);
        assert!(
            ended.is_err(),
            "{shown}: {} bytes",
            ended.unwrap_or_default().len()
        );
    }
}

#[test]
fn what_stands_on_the_stack_is_weighed_and_stays_as_it_was() {
    let input = json!({"l": [1, 2], "m": {"b": 4}});
    for (source, expected) in [
        (
            "{% macro m(a, b, c=0) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(*input.l) }} {{ m(7, *[8], c=9) }} {{ m(5, **input.m) }}",
            "1-2-0 7-8-9 5-4-0",
        ),
        ("{{ dict(a=1, **input.m) }}", "{'a': 1, 'b': 4}"),
        (
            "{% for i in [1, 1, 2] %}{{ loop.changed(i) }} {% endfor %}",
            "True False True ",
        ),
        (
            "{% for i in [1, 1, 2] %}{{ loop.cycle('a', input.l) }}{% endfor %}",
            "a[1, 2]a",
        ),
        (
            "{% set ns = namespace(input.m) %}{% set ns.c = 1 %}{{ ns.b + ns.c }}",
            "5",
        ),
        ("{% set a, b = input.l %}{{ b }}{{ a }}", "21"),
    ] {
        let found = plain(source, &input);
        assert_eq!(found.as_deref(), Ok(expected), "{source}");
    }
}

/// The engine divides by the number of the arguments.
#[test]
fn a_panic_of_the_engine_is_an_error_of_the_text() {
    let source = "{% for i in [1, 2] %}{{ loop.cycle() }}{% endfor %}";
    let error = plain(source, &json!({})).unwrap_err().to_string();
    assert!(error.contains("cannot be rendered"), "{error}");
    assert_eq!(plain("{{ 1 + 1 }}", &json!({})).as_deref(), Ok("2"));
}

/// The environment begins empty, so that what the engine comes with is there only if it stands in one of our tables; nothing of it is missing.
#[test]
fn every_filter_function_and_test_of_the_engine_is_in_our_tables() {
    let (engine, ours) = (Environment::new(), TextSet::default().environment);
    let known = |environment: &Environment<'_>, kind: &str, name: &str| {
        let source = format!("{{{{ name is {kind} }}}}");
        let found = environment.render_str(&source, Jinja::from_pairs([("name", name)]));
        found.is_ok_and(|found| found.eq_ignore_ascii_case("true"))
    };
    let names = include_str!("builtins.rs")
        .split('"')
        .filter(|name| !name.contains(char::is_whitespace));
    let mut count = 0;
    for name in names {
        for kind in ["filter", "test"] {
            if known(&engine, kind, name) {
                assert!(known(&ours, kind, name), "the {kind} `{name}`");
                count += 1;
            }
        }
    }
    assert!(count > 70, "{count} of them");
    let functions = |environment: &Environment<'_>| {
        let names = environment.globals().map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    assert!(functions(&ours).is_superset(&functions(&engine)));
    let empty = Environment::empty();
    assert!(!known(&empty, "filter", "upper") && functions(&empty).is_empty());
}

#[test]
fn a_namespace_that_holds_itself_is_none() {
    let source = "{% set ns = namespace() %}{% set ns.own = ns %}{% set ns.list = [ns, {'a': ns}] %}{{ ns.list | length }}";
    assert_eq!(plain(source, &json!({})).as_deref(), Ok("2"));
}

#[test]
fn a_text_that_is_too_long_names_its_limit() {
    let input = json!({"t": "x".repeat(900_000)});
    let error = plain("{% for i in range(400) %}{{ input.t }}{% endfor %}", &input).unwrap_err();
    assert_eq!(error, EvalError::TooLong);
    assert!(error.to_string().contains("4194304"), "{error}");
    let work = plain(
        "{% for i in range(99999) %}{% set a = input.t | upper %}{% endfor %}",
        &input,
    );
    assert_eq!(work, Err(EvalError::OutOfFuel));
}

#[test]
fn what_comes_from_data_is_escaped_for_the_target_and_what_the_author_wrote_is_not() {
    let input = json!({"name": "<!channel> & Sons", "code": "```\n<@U1>", "list": ["<a>", "b"], "n": 7, "o": {"k": "<!here>"}});
    let slack = |source: &str| rendered(source, &input, Markup::Mrkdwn, &Budget::new(FUEL));
    for (source, expected) in [
        (
            "<!here> *{{ input.name }}* <@U9>",
            "<!here> *&lt;!channel&gt; &amp; Sons* <@U9>",
        ),
        ("<https://a.example|{{ input.n }}>", "<https://a.example|7>"),
        (
            "{{ '<!here> ' ~ input.name }}",
            "<!here> &lt;!channel&gt; &amp; Sons",
        ),
        ("{{ '<b>' + input.list[0] }}", "<b>&lt;a&gt;"),
        ("{{ input.name | upper }}", "&lt;!CHANNEL&gt; &amp; SONS"),
        ("{{ input.name | safe }}", "<!channel> & Sons"),
        ("{{ input.name | e }}", "&lt;!channel&gt; &amp; Sons"),
        ("{{ input.list | join(' <-> ') }}", "&lt;a&gt; <-> b"),
        ("{{ input.list }}", "['&lt;a&gt;', 'b']"),
        (
            "{% set x %}<!here> {{ input.name }}{% endset %}{{ x }}",
            "<!here> &lt;!channel&gt; &amp; Sons",
        ),
        (
            "{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(input.list[0]) }}",
            "<&lt;a&gt;>",
        ),
        (
            "```{{ input.o | tojson }}```",
            "```{\"k\":\"&lt;!here&gt;\"}```",
        ),
        (
            "```{{ input.code }}```",
            "```\u{200b}`\u{200b}`\u{200b}`\n&lt;@U1&gt;```",
        ),
        (
            "{{ 'a' if input.name == '<!channel> & Sons' else 'b' }}",
            "a",
        ),
        ("{{ input.missing | default('<!here>') }}", "<!here>"),
        (
            "{% autoescape false %}{{ input.name }}{% endautoescape %}",
            "<!channel> & Sons",
        ),
    ] {
        assert_eq!(slack(source).as_deref(), Ok(expected), "{source}");
    }
    let raw = plain("<!here> {{ input.name }} {{ input.o | tojson }}", &input).expect("renders");
    assert_eq!(
        raw,
        "<!here> <!channel> & Sons {\"k\": \"\\u003c!here\\u003e\"}"
    );
    let line = rendered(
        "Re: {{ input.code }}",
        &input,
        Markup::Line,
        &Budget::new(FUEL),
    );
    assert_eq!(line.as_deref(), Ok("Re: ``` <@U1>"));
    let html = rendered(
        "<b>{{ input.name }}</b>",
        &input,
        Markup::Html,
        &Budget::new(FUEL),
    );
    assert_eq!(html.as_deref(), Ok("<b>&lt;!channel&gt; &amp; Sons</b>"));
}
