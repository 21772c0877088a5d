use crate::Format;

fn good(text: &str) -> Vec<String> {
    super::good(Format::Influx, text)
}

#[test]
fn the_documented_lines_are_read() {
    let text = r#"
# a comment
myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue" 1556813561098000000
weather,location=us-midwest temperature=82,humidity=71.5 1465839830100400200
cpu,host=a value=1i
cpu,host=b value=18446744073709551615u 1
disk,path=C:\ D,odd\,key=x\=y used\ percent=12.5,ok=t,bad=FALSE,text="a, b=\"c\" \\" 1
wea\,ther\ now,l=\a t=-1e3
"#;
    assert_eq!(
        good(text),
        [
            r#"weather_temperature{location="us-midwest"} unknown 82"#,
            r#"weather_humidity{location="us-midwest"} unknown 71.5"#,
            r#"cpu{host="a"} unknown 1"#,
            r#"cpu{host="b"} unknown 18446744073709552000"#,
            r#"disk_used_percent{odd_key="x=y",path="C: D"} unknown 12.5"#,
            r#"disk_ok{odd_key="x=y",path="C: D"} unknown 1"#,
            r#"disk_bad{odd_key="x=y",path="C: D"} unknown 0"#,
            r#"wea_ther_now_t{l="\\a"} unknown -1000"#,
        ]
    );
}

#[test]
fn names_become_what_prometheus_takes() {
    assert_eq!(good("9a.b,x-y=1 0c=1\n"), [r#"_9a_b_0c{x_y="1"} unknown 1"#]);
}

#[test]
fn of_one_series_the_later_sample_counts() {
    assert_eq!(good("a v=1 1\nb v=2 1\na v=3 2\n"), ["a_v unknown 3", "b_v unknown 2"]);
}

#[test]
fn fields_that_become_one_name_are_not_taken_for_each_other() {
    let reading = Format::Influx.read(b"m a-b=1,a_b=2,c=3\nm a_b=4\n");
    assert_eq!(super::shown(&reading), ["m_a_b unknown 4", "m_c unknown 3"]);
    assert_eq!(reading.refused, 1);
    let fault = "line 1: a series stands twice; the first one counts";
    assert_eq!(reading.faults().unwrap(), fault);
    assert_eq!(reading.texts().unwrap(), "line 1: \"m_a_b\"");
}

#[test]
fn a_wrong_line_is_refused_for_itself_with_the_reason() {
    for (line, reason) in [
        ("a", "fields are written"),
        ("a ", "fields are written"),
        ("a,b c=1", "tags are written"),
        ("a,b= c=1", "tags are written"),
        ("a,b=c=d e=1", "tags are written"),
        ("a,b=1,b=2 c=1", "a label stands twice"),
        ("a,b-=1,b_=2 c=1", "a label stands twice"),
        ("a =1", "fields are written"),
        ("a b", "fields are written"),
        ("a b=", "the value is no number"),
        ("a b=x", "the value is no number"),
        ("a b=1.5i", "the value is no number"),
        ("a b=-1u", "the value is no number"),
        ("a b=nan", "the value is no number"),
        ("a b=\"c", "a quote is not closed"),
        ("a b=\"c\"d=1", "stands behind the sample"),
        ("a b=1,c=x", "the value is no number"),
        ("a b=1 now", "the time is no number"),
        (",b=1 c=1", "no name of a metric"),
    ] {
        let (fault, _) = super::refused(Format::Influx, line, "x v=1", "y v=1");
        assert!(fault.contains(reason), "{line}: {fault}");
    }
}
