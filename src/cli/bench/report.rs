//! What was measured, held against what was wanted, as a table or as JSON.

use super::machine::Machine;
use serde::Serialize;
use std::fmt::Write;

/// What is wanted of a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn reached(self, value: f64) -> bool {
        match self {
            Aim::AtLeast(bound) => value >= bound,
            Aim::AtMost(bound) => value <= bound,
        }
    }
}

/// One thing, measured once or several times.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// For example `w1/postgres/step/256`.
    pub of: String,
    pub what: &'static str,
    pub unit: &'static str,
    pub samples: Vec<f64>,
    /// Held against the median.
    pub aim: Option<Aim>,
    /// How it was measured, where the name does not say it.
    pub note: Option<String>,
}

impl Measurement {
    pub fn new(of: &str, what: &'static str, unit: &'static str, samples: Vec<f64>) -> Self {
        Self {
            of: of.into(),
            what,
            unit,
            samples,
            aim: None,
            note: None,
        }
    }

    pub fn once(of: &str, what: &'static str, unit: &'static str, value: f64) -> Self {
        Self::new(of, what, unit, vec![value])
    }

    pub fn aim(mut self, aim: Option<Aim>) -> Self {
        self.aim = aim;
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Of an even number of samples the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    fn least(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.samples
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Something that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub of: String,
    pub error: String,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub measurements: Vec<Measurement>,
    pub failures: Vec<Failure>,
    /// Why the aims, which are for a release build and the whole size, are not held against this run.
    pub not_judged: Option<&'static str>,
}

impl Report {
    fn verdict(&self, measurement: &Measurement) -> Option<&'static str> {
        let aim = measurement.aim.filter(|_| self.not_judged.is_none())?;
        Some(if aim.reached(measurement.median()) {
            "ok"
        } else {
            "short"
        })
    }

    pub fn json(&self) -> serde_json::Value {
        let measurements: Vec<_> = self
            .measurements
            .iter()
            .map(|measurement| {
                let mut value = serde_json::json!(measurement);
                value["median"] = measurement.median().into();
                value["verdict"] = self.verdict(measurement).into();
                value
            })
            .collect();
        serde_json::json!({
            "machine": self.machine,
            "measurements": measurements,
            "failures": self.failures,
            "not_judged": self.not_judged,
        })
    }

    /// The table for people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        let mut notes: Vec<&str> = Vec::new();
        let mut rows = vec![["", "", "median", "spread", "", "aim", ""].map(String::from)];
        let mut group = "";
        for measurement in &self.measurements {
            let shown = if group == measurement.of {
                ""
            } else {
                &measurement.of
            };
            group = &measurement.of;
            rows.push(self.row(shown, measurement, &mut notes));
        }
        align(&mut text, &rows);
        text.push('\n');
        for (number, note) in notes.iter().enumerate() {
            let _ = write!(text, "\n[{}] {note}", number + 1);
        }
        for failure in &self.failures {
            let _ = write!(text, "\nnot measured: {}: {}", failure.of, failure.error);
        }
        if let Some(reason) = self.not_judged {
            let _ = write!(text, "\nThe aims are not held against this run: {reason}.");
        }
        text
    }

    fn row<'a>(
        &'a self,
        group: &str,
        measurement: &'a Measurement,
        notes: &mut Vec<&'a str>,
    ) -> [String; 7] {
        let spread = if measurement.samples.len() > 1 {
            format!(
                "{} to {}",
                number(measurement.least()),
                number(measurement.most())
            )
        } else {
            String::new()
        };
        let aim = match measurement.aim {
            Some(Aim::AtLeast(bound)) => format!("at least {}", number(bound)),
            Some(Aim::AtMost(bound)) => format!("at most {}", number(bound)),
            None => String::new(),
        };
        let mut what = measurement.what.to_string();
        if let Some(note) = &measurement.note {
            let place = notes.iter().position(|known| known == note);
            let place = place.unwrap_or_else(|| {
                notes.push(note);
                notes.len() - 1
            });
            let _ = write!(what, " [{}]", place + 1);
        }
        [
            group.to_string(),
            what,
            number(measurement.median()),
            spread,
            measurement.unit.to_string(),
            aim,
            self.verdict(measurement).unwrap_or_default().to_string(),
        ]
    }
}

/// Three significant digits, at least; whole numbers from 100 on.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Columns two spaces apart; the numbers of the third to the right.
fn align(text: &mut String, rows: &[[String; 7]]) {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (column, (width, cell)) in widths.into_iter().zip(row).enumerate() {
            let _ = match column {
                2 => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        text.push('\n');
        text.push_str(line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(not_judged: Option<&'static str>) -> Report {
        let measured = Measurement::new("w1", "runs", "runs/s", vec![7_000.0, 5_000.0, 6_500.0]);
        Report {
            machine: Machine::default(),
            measurements: vec![
                measured.clone().aim(Some(Aim::AtLeast(6_000.0))),
                measured.aim(Some(Aim::AtMost(6_000.0))).note("why"),
            ],
            failures: vec![],
            not_judged,
        }
    }

    #[test]
    fn the_median_is_held_against_the_aim() {
        let json = report(None).json();
        assert_eq!(json["measurements"][0]["median"], 6_500.0);
        assert_eq!(json["measurements"][0]["verdict"], "ok");
        assert_eq!(json["measurements"][1]["verdict"], "short");
        assert!(report(Some("quick")).json()["measurements"][0]["verdict"].is_null());
    }

    #[test]
    fn the_table_shows_aims_and_notes() {
        let text = report(None).text();
        assert!(text.contains("at least 6000  ok"), "{text}");
        assert!(text.contains("5000 to 7000"), "{text}");
        assert!(
            text.contains("runs [1]") && text.contains("\n[1] why"),
            "{text}"
        );
    }

    #[test]
    fn an_even_number_of_samples_has_a_median_too() {
        let measured = Measurement::new("a", "b", "c", vec![1.0, 4.0, 2.0, 3.0]);
        assert_eq!(measured.median(), 2.5);
    }
}
