//! The picture: throughput and CPU time per operation, as bars with their spread. SVG, written by hand.

use std::fmt::Write;

use crate::measurements::{Run, Spread};
use crate::points::{LARGE, Point, Work};
use crate::report::Outcome;
use crate::systems::System;

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 400.0;
/// Of the area within the axes.
const TOP: f64 = 92.0;
const BOTTOM: f64 = 340.0;
const BAR: f64 = 24.0;

/// One half of the picture.
struct Panel {
    title: &'static str,
    left: f64,
    right: f64,
    /// What a bar shows.
    value: fn(&Run) -> f64,
}

/// The bars of one kind of work.
struct Group {
    label: [String; 2],
    bars: Vec<(System, Spread)>,
}

const PANELS: [Panel; 2] = [
    Panel {
        title: "operations per second (more is better)",
        left: 62.0,
        right: 480.0,
        value: |run| run.throughput,
    },
    Panel {
        title: "µs of the servers' CPU time per operation (less is better)",
        left: 546.0,
        right: 964.0,
        value: |run| run.cpu_micros,
    },
];

/// The picture of a comparison.
pub fn svg(outcome: &Outcome) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    head(&mut svg, outcome);
    for panel in &PANELS {
        let groups = groups(outcome, panel.value);
        panel.draw(&mut svg, &groups);
    }
    svg + "</svg>\n"
}

fn head(svg: &mut String, outcome: &Outcome) {
    let conditions = &outcome.setting.conditions;
    let title = format!(
        "256 clients, {} runs of {} s in turn, {} cores: median and spread",
        conditions.rounds, conditions.seconds, outcome.setting.machine.cores
    );
    text(
        svg,
        16.0,
        26.0,
        "start",
        "font-size=\"15\" font-weight=\"bold\"",
        &title,
    );
    let mut left = 16.0;
    for (system, label) in [
        (System::Ours, "Mini-DynamoDB"),
        (System::Calls, "… by a call for each operation"),
        (System::Etcd, "etcd"),
        (System::Ceiling, "two hops of gRPC and nothing else"),
    ] {
        rectangle(svg, left, 40.0, 12.0, 12.0, color(system));
        text(svg, left + 18.0, 50.0, "start", "", label);
        left += 44.0 + 6.6 * label.len() as f64;
    }
}

fn color(system: System) -> &'static str {
    match system {
        System::Ours => "#2563a8",
        System::Calls => "#8fb4dc",
        System::Etcd => "#e08a2c",
        System::Ceiling => "#b9bec6",
    }
}

/// What is shown, as far as it was measured.
fn groups(outcome: &Outcome, value: fn(&Run) -> f64) -> Vec<Group> {
    let shown = [
        Point::new(Work::EventualGet, 256),
        Point::new(Work::ConsistentGet, 256),
        Point::new(Work::Put, 256),
        Point::new(Work::Put, 256).of_size(LARGE),
    ];
    let groups = shown.map(|point| {
        let systems = [System::Ours, System::Calls, System::Etcd, System::Ceiling];
        let bars = systems.into_iter();
        let bars = bars.filter_map(|system| {
            let spread = outcome.measurements.spread(point, system, value)?;
            Some((system, spread))
        });
        Group {
            label: [
                point.work.name().to_owned(),
                format!("{} B", point.value_size),
            ],
            bars: bars.collect(),
        }
    });
    groups
        .into_iter()
        .filter(|group| !group.bars.is_empty())
        .collect()
}

impl Panel {
    fn draw(&self, svg: &mut String, groups: &[Group]) {
        let bars = groups.iter().flat_map(|group| &group.bars);
        let highest = bars.map(|(_, spread)| spread.max).fold(0.0, f64::max);
        let step = step(highest);
        let top = step * (highest / step).ceil().max(1.0);
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / top;
        text(
            svg,
            self.left,
            TOP - 16.0,
            "start",
            "font-weight=\"bold\"",
            self.title,
        );
        let mut tick = 0.0;
        while tick <= top + step / 2.0 {
            line(svg, (self.left, y(tick)), (self.right, y(tick)), "#e3e5e8");
            text(
                svg,
                self.left - 6.0,
                y(tick) + 4.0,
                "end",
                "fill=\"#555\"",
                &thousands(tick),
            );
            tick += step;
        }
        let pitch = (self.right - self.left) / groups.len().max(1) as f64;
        for (index, group) in groups.iter().enumerate() {
            let middle = self.left + pitch * (index as f64 + 0.5);
            group.draw(svg, middle, y);
        }
        line(svg, (self.left, BOTTOM), (self.right, BOTTOM), "#555");
    }
}

impl Group {
    fn draw(&self, svg: &mut String, middle: f64, y: impl Fn(f64) -> f64) {
        for (row, label) in self.label.iter().enumerate() {
            text(
                svg,
                middle,
                BOTTOM + 18.0 + 16.0 * row as f64,
                "middle",
                "",
                label,
            );
        }
        let mut left = middle - BAR * self.bars.len() as f64 / 2.0;
        for (system, spread) in &self.bars {
            let (top, center) = (y(spread.median), left + BAR / 2.0);
            rectangle(
                svg,
                left + 1.0,
                top,
                BAR - 2.0,
                BOTTOM - top,
                color(*system),
            );
            line(
                svg,
                (center, y(spread.max)),
                (center, y(spread.min)),
                "#222",
            );
            for end in [spread.min, spread.max] {
                line(svg, (center - 4.0, y(end)), (center + 4.0, y(end)), "#222");
            }
            let label = thousands(spread.median);
            text(
                svg,
                center,
                y(spread.max) - 5.0,
                "middle",
                "font-size=\"10\"",
                &label,
            );
            left += BAR;
        }
    }
}

/// The distance of the lines: 1, 2 or 5 times a power of ten, six of them or less.
fn step(highest: f64) -> f64 {
    let rough = (highest / 6.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough)
}

/// `0`, `7.5`, `850`, `1.5k`, `41k`.
fn thousands(value: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.1}");
        text.trim_end_matches(".0").to_owned()
    };
    match value {
        value if value >= 9_950.0 => format!("{:.0}k", value / 1000.0),
        value if value >= 1_000.0 => format!("{}k", short(value / 1000.0)),
        value if value >= 10.0 => format!("{value:.0}"),
        value => short(value),
    }
}

// Writing to a string can't fail.
fn rectangle(svg: &mut String, x: f64, y: f64, width: f64, height: f64, fill: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), stroke: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, style: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::outcome;

    /// The value of an attribute in the first element of which a line contains something.
    fn attribute(svg: &str, containing: &str, name: &str) -> f64 {
        let line = svg.lines().find(|line| line.contains(containing)).unwrap();
        let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    #[test]
    fn bars_are_as_high_as_what_they_show() {
        let svg = svg(&outcome());
        let bars: Vec<_> = svg
            .lines()
            .filter(|line| line.contains("height=\"1"))
            .collect();
        assert!(!bars.is_empty(), "{svg}");
        // The scale reaches 50k: ours has 30k, etcd 7.5k.
        let at = |value: f64| (BOTTOM - TOP) * value / 50_000.0;
        let ours = format!(
            "height=\"{:.1}\" fill=\"{}\"",
            at(30_000.0),
            color(System::Ours)
        );
        let etcd = format!(
            "height=\"{:.1}\" fill=\"{}\"",
            at(7_500.0),
            color(System::Etcd)
        );
        assert!(svg.contains(&ours) && svg.contains(&etcd), "{svg}");
        let top = attribute(&svg, &ours, "y");
        assert!((top - (BOTTOM - at(30_000.0))).abs() < 0.1);
    }

    #[test]
    fn everything_is_within_the_picture_and_every_element_is_closed() {
        let svg = svg(&outcome());
        for (name, limit) in [
            ("x", WIDTH),
            ("x1", WIDTH),
            ("x2", WIDTH),
            ("y", HEIGHT),
            ("y1", HEIGHT),
            ("y2", HEIGHT),
        ] {
            for line in svg
                .lines()
                .filter(|line| line.contains(&format!(" {name}=\"")))
            {
                let value = attribute(line, "", name);
                assert!((0.0..=limit).contains(&value), "{line}");
            }
        }
        let shapes = svg
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with("</svg>"));
        for line in shapes.skip(1) {
            assert!(line.ends_with("/>") || line.ends_with("</text>"), "{line}");
        }
        assert!(svg.ends_with("</svg>\n"));
        assert!(
            svg.contains(">eventual Get<") && !svg.contains(">Put<"),
            "only what was measured"
        );
    }

    #[test]
    fn axes_have_round_numbers() {
        for (highest, expected) in [
            (50_000.0, 10_000.0),
            (61_000.0, 20_000.0),
            (7.0, 2.0),
            (0.9, 0.2),
            (30.0, 5.0),
        ] {
            assert!(
                (step(highest) - expected).abs() < 1e-9,
                "{highest}: {}",
                step(highest)
            );
        }
        assert!(step(0.0) > 0.0);
        for (value, shown) in [
            (0.0, "0"),
            (7.5, "7.5"),
            (850.0, "850"),
            (1500.0, "1.5k"),
            (2000.0, "2k"),
            (41_234.0, "41k"),
        ] {
            assert_eq!(thousands(value), shown);
        }
    }
}
