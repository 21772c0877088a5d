//! Whatever comes in, what comes out is what the host takes, and says so of itself.

use std::collections::HashSet;

use crate::names::check_metric;
use crate::{Format, Labels, Sample};

const GOOD: [(Format, &str); 3] = [
    (
        Format::Prometheus,
        "# HELP a A \\\\ b\\n.\n# TYPE a counter\na{x=\"1\",y=\"\\\"\\n\\\\\"} 1 5\na{x=\"2\"} 2\n\
         # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
         # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\nplain -1.5e3\n# EOF\n",
    ),
    (
        Format::Influx,
        "a,b=c\\ d,e\\,f=g h=1i,i=2u,j=t,k=\"l\\\"m\",n=-1.5e3 5\no p=1\n# q\nr,s=t value=0.5\n",
    ),
    (
        Format::Json,
        "[{\"metric\":\"a\",\"labels\":{\"b\":\"c\"},\"type\":\"gauge\",\"value\":1.5}]\n\
         {\"d\":{\"e\":[1,true,null,\"f\"]},\"g\":-2e3}\n",
    ),
];

fn mutated(text: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    const ODD: &[u8] = b"\"\\{}[],= \n\r\t#:_.-+0129naNiIfFeEu\x00\x7f\xc3\xff";
    let mut bytes = text.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=bytes.len());
        match random.u8(..6) {
            0 => bytes.insert(at, random.choice(ODD).copied().unwrap()),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = random.choice(ODD).copied().unwrap(),
            4 => bytes.truncate(at),
            _ => {
                let from = random.usize(..=bytes.len());
                let part = bytes[from..(from + random.usize(..40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[track_caller]
fn check(sample: &Sample) {
    check_metric(&sample.metric).unwrap();
    assert_eq!(Labels::from_text(&sample.labels).unwrap().into_text(), sample.labels);
    assert!(sample.total.is_none() || sample.value.is_none(), "{sample:?}");
    for number in [sample.total, sample.value].into_iter().flatten() {
        assert!(number.is_finite(), "{sample:?}");
    }
    assert!(sample.total.is_none_or(|total| total >= 0.0), "{sample:?}");
}

#[test]
fn no_input_makes_anything_but_samples_and_faults() {
    let mut random = fastrand::Rng::with_seed(20_261_121);
    for (format, text) in GOOD {
        assert_eq!(format.read(text.as_bytes()).refused, 0, "{text}");
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..5_000 {
            let bytes = mutated(text.as_bytes(), &mut random);
            let reading = format.read(&bytes);
            reading.samples.iter().for_each(check);
            let series: HashSet<String> = reading.samples.iter().map(Sample::series).collect();
            assert_eq!(series.len(), reading.samples.len(), "{}", String::from_utf8_lossy(&bytes));
            assert_eq!(reading.faults().is_some(), reading.refused > 0);
            taken += reading.samples.len();
            refused += reading.refused;
        }
        assert!(taken > 1_000 && refused > 1_000, "{format:?}: {taken} and {refused}");
    }
}

#[test]
fn what_is_written_again_is_read_the_same() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5_000 {
        let reading = Format::Prometheus.read(&mutated(GOOD[0].1.as_bytes(), &mut random));
        let kept = reading
            .samples
            .iter()
            .filter(|sample| matches!(sample.r#type, "unknown") && sample.value.is_some());
        for sample in kept {
            let line = format!("{} {}\n", sample.series(), sample.value.unwrap());
            let again = Format::Prometheus.read(line.as_bytes());
            assert_eq!(
                (&again.samples[0].metric, &again.samples[0].labels, again.samples[0].value),
                (&sample.metric, &sample.labels, sample.value)
            );
        }
    }
}
