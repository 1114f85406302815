//! Plots as SVG text: bars in groups, and latency by percentile. Nothing more is needed, so there is no library.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 64.0;
const HEIGHT: f64 = 420.0;
const TICKS: usize = 5;
/// Told apart by those who do not see red or green, too.
const COLOURS: [&str; 6] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#999999",
];

/// Bars of one thing.
#[derive(Clone, Debug)]
pub struct Group {
    pub label: String,
    /// One for each series; `None` leaves its place empty.
    pub values: Vec<Option<f64>>,
}

/// Bars in groups, of which each has one bar for each series.
pub fn bars(title: &str, unit: &str, series: &[&str], groups: &[Group]) -> String {
    let most = groups
        .iter()
        .flat_map(|group| group.values.iter().flatten())
        .fold(0.0, |most: f64, value| most.max(*value));
    let (step, top) = scale(most);
    let mut svg = frame(title, unit, series);
    axis(&mut svg, step, top);
    let group_width = (WIDTH - LEFT - 20.0) / groups.len().max(1) as f64;
    let bar_width = group_width * 0.8 / series.len().max(1) as f64;
    for (at, group) in groups.iter().enumerate() {
        let left = LEFT + group_width * (at as f64 + 0.1);
        for (number, value) in group.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let x = left + bar_width * number as f64;
            let y = y_of(*value, top);
            let height = HEIGHT - BOTTOM - y;
            let colour = COLOURS[number % COLOURS.len()];
            push(
                &mut svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                    bar_width - 1.0
                ),
            );
            push(
                &mut svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\" text-anchor=\"middle\">{}</text>",
                    x + bar_width / 2.0,
                    y - 3.0,
                    short(*value)
                ),
            );
        }
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                left + group_width * 0.4,
                HEIGHT - BOTTOM + 18.0,
                escaped(&group.label)
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A line of a plot by percentile: shares of requests below 1, and their latency.
#[derive(Clone, Debug)]
pub struct Curve {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

/// Latency by percentile; each step to the right is a tenth of the requests left.
pub fn percentiles(title: &str, unit: &str, nines_max: u32, curves: &[Curve]) -> String {
    let most = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .fold(0.0, |most: f64, (_, value)| most.max(*value));
    let (step, top) = scale(most);
    let labels: Vec<&str> = curves.iter().map(|curve| curve.label.as_str()).collect();
    let mut svg = frame(title, unit, &labels);
    axis(&mut svg, step, top);
    let nines_max = f64::from(nines_max);
    let x_of = |share: f64| {
        let nines = -(1.0 - share).max(1e-12).log10();
        LEFT + (WIDTH - LEFT - 40.0) * (nines / nines_max).min(1.0)
    };
    for (share, label) in [
        (0.0, "0"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
    ] {
        let x = x_of(share);
        push(
            &mut svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM + 18.0
            ),
        );
    }
    for (number, curve) in curves.iter().enumerate() {
        let points: String = curve
            .points
            .iter()
            .map(|(share, value)| format!("{:.1},{:.1} ", x_of(*share), y_of(*value, top)))
            .collect();
        push(
            &mut svg,
            format_args!(
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
                COLOURS[number % COLOURS.len()]
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Title, background and legend.
fn frame(title: &str, unit: &str, series: &[&str]) -> String {
    let mut svg = String::new();
    push(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
        ),
    );
    push(
        &mut svg,
        format_args!(
            "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{} ({})</text>",
            escaped(title),
            escaped(unit)
        ),
    );
    let width = (WIDTH - LEFT) / series.len().max(1) as f64;
    for (number, name) in series.iter().enumerate() {
        let x = LEFT + width * number as f64;
        push(
            &mut svg,
            format_args!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
                COLOURS[number % COLOURS.len()],
                y = HEIGHT - 24.0
            ),
        );
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 18.0,
                HEIGHT - 14.0,
                escaped(name)
            ),
        );
    }
    svg
}

fn axis(svg: &mut String, step: f64, top: f64) {
    for tick in 0..=TICKS {
        let value = step * tick as f64;
        if value > top * 1.001 {
            break;
        }
        let y = y_of(value, top);
        push(
            svg,
            format_args!(
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - 20.0,
                LEFT - 6.0,
                y + 4.0,
                short(value)
            ),
        );
    }
}

fn y_of(value: f64, top: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value / top).min(1.0)
}

/// Round steps, five at most, that reach beyond `most`.
fn scale(most: f64) -> (f64, f64) {
    let raw = (most / TICKS as f64).max(1e-9);
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= raw)
        .unwrap_or(power * 10.0);
    (step, step * TICKS as f64)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        value => format!("{value:.2}"),
    }
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(svg, "{text}").expect("a string takes everything");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_reach_beyond_the_most() {
        for (most, expected) in [
            (9.0, (2.0, 10.0)),
            (73.0, (20.0, 100.0)),
            (0.4, (0.1, 0.5)),
            (11.0, (2.5, 12.5)),
        ] {
            let (step, top) = scale(most);
            assert!((step - expected.0).abs() < 1e-9 && (top - expected.1).abs() < 1e-9);
        }
    }

    #[test]
    fn each_value_has_its_bar() {
        let groups = [Group {
            label: "a & b".to_owned(),
            values: vec![Some(1.0), None, Some(2.0)],
        }];
        let svg = bars("t", "u", &["x", "y", "z"], &groups);
        // Two bars, three keys of the legend, the background.
        assert_eq!(svg.matches("<rect").count(), 6);
        assert!(svg.contains("a &amp; b") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_curve_goes_up_to_the_right() {
        let curve = Curve {
            label: "a".to_owned(),
            points: vec![(0.5, 10.0), (0.99, 20.0)],
        };
        let svg = percentiles("t", "u", 4, &[curve]);
        let points = svg.split("points=\"").nth(1).unwrap();
        let numbers: Vec<f64> = points
            .split('"')
            .next()
            .unwrap()
            .split([',', ' '])
            .filter_map(|number| number.parse().ok())
            .collect();
        assert!(numbers[0] < numbers[2] && numbers[1] > numbers[3]);
    }
}
