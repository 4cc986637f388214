"""Tests for `bootstrap.cost` and `pomona cloud estimate`: measured rates, calculation steps and prices."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import bootstrap
from bootstrap.cost.estimate import NUMBER_BYTES, ROW_BYTES, Requests, estimate, refits_per_day
from bootstrap.cost.workload import IMAGES_PER_CORE_SECOND, Workload, executor_count, vcpu_count
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.serverless import ingest_job
from bootstrap.resources.steps import ingest_step
from bootstrap.resources.uploads import UploadLocations
from support.aws.cluster_configs import MINIMAL, names, uploads
from support.processes.cli import Command

BENCHMARKS = (Path(__file__).parents[3] / "BENCHMARKS.md").read_text()
PRICES = """
currency = "USD"
[instances."m5.xlarge"]
ec2_hour = 2
emr_hour = 0.5
[storage]
s3_gb_month = 0.25
ebs_gb_month = 0
[requests]
get_1000 = 0.001
list_1000 = 0.005
[serverless]
vcpu_hour = 0.5
gb_hour = 0.25
"""
EXAMPLE = Path(bootstrap.__file__).with_name("prices.example.toml").read_text()


@pytest.fixture
def pomona(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


def test_rate_and_row_size_equal_benchmarks() -> None:
    machine = re.search(r"^\| featurize \|.*?(\d+) cores", BENCHMARKS, re.MULTILINE)
    measured = re.search(
        r"^\| Pomona, ONNX Runtime float32 \| [\d,]+ \| ([\d.]+) \|", BENCHMARKS, re.MULTILINE
    )
    assert machine
    assert measured
    assert round(float(measured[1]) / int(machine[1]), 1) == IMAGES_PER_CORE_SECOND
    row = re.search(
        r"^\| size of the features table \| [\d,]+ . ([\d,]+) bytes", BENCHMARKS, re.MULTILINE
    )
    assert row
    assert int(row[1].replace(",", "")) == ROW_BYTES


def test_number_bytes_equal_size_of_parquet_and_csv(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    vectors = np.random.default_rng(1).normal(size=(2000, 50))
    table = pa.table({f"pc{n}": column for n, column in enumerate(vectors.T)})
    pyarrow.csv.write_csv(table, tmp_path / "reduced.csv")
    pyarrow.parquet.write_table(table, tmp_path / "reduced.parquet", use_dictionary=False)
    total_bytes = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert total_bytes / vectors.size == pytest.approx(NUMBER_BYTES, rel=0.1)


def test_fleet_has_cores_of_smallest_and_price_of_most_expensive_type(
    tmp_path: Path, pomona: Command
) -> None:
    types = 'instances.types = ["m5.2xlarge", "m5.xlarge", "m6i.2xlarge"]\n'
    (tmp_path / "cluster.toml").write_text(MINIMAL + types)
    table = PRICES
    for name, price in (("m5.2xlarge", 4), ("m6i.2xlarge", 6)):
        table += f'[instances."{name}"]\nec2_hour = {price}\nemr_hour = 1\n'
    (tmp_path / "prices.toml").write_text(table)
    answer = pomona(
        "cloud", "estimate", "--images", "1e6", "--prices", "prices.toml", "--json"
    ).json
    formulas = {one["quantity"]: one["formula"] for one in answer["steps"]}
    assert "8 nodes * 4 cores" in formulas["ingestion cores, maximum"]
    assert "per hour: 2 nodes m6i.2xlarge, On-Demand" in formulas


@pytest.mark.parametrize("nodes", [1, 2, 8, 100])
def test_executor_count_equals_step_settings(nodes: int, tmp_path: Path) -> None:
    limits = (
        f'limits = {{nodes = {nodes}, core = 1}}\ninstances.core = 1\nrefit.schedule = "never"\n'
    )
    config_names = names(limits)
    locations = UploadLocations(config_names, uploads(tmp_path).version)
    arguments = ingest_step(config_names, locations)["HadoopJarStep"]["Args"]
    assert f"spark.dynamicAllocation.maxExecutors={executor_count(nodes, 4)}" in arguments
    assert "spark.executor.cores=2" in arguments
    serverless = names(f'mode = "serverless"\nlimits.nodes = {nodes + 2}\n')
    job = ingest_job(serverless, UploadLocations(serverless, "v1"))
    parameters = job["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]
    executors = executor_count(nodes + 2, 4, serverless.config.reserved_nodes) // 2  # of four cores
    assert f"spark.dynamicAllocation.maxExecutors={executors} " in f"{parameters} "
    (disk,) = {
        volume["VolumeSpecification"]["SizeInGB"]
        for group in run_job_flow(config_names, locations)["Instances"]["InstanceGroups"]
        for volume in group["EbsConfiguration"]["EbsBlockDeviceConfigs"]
    }
    assert disk == config_names.config.instances.disk_gb


def test_vcpu_count_equals_ec2_documentation() -> None:
    documented = {
        "m5.large": 2,
        "m5.xlarge": 4,
        "m5.4xlarge": 16,
        "c6i.32xlarge": 128,
        "r7g.xlarge": 4,
    }
    assert {name: vcpu_count(name) for name in documented} == documented
    for name in ("m5.metal", "t3.micro"):
        with pytest.raises(CloudError, match="--cores"):
            vcpu_count(name)


def test_formula_of_each_step_evaluates_to_result(pomona: Command) -> None:
    Path("prices.toml").write_text(PRICES)
    args = ("--images", "10e6", "--a-day", "1e6", "--image-kb", "40", "--prices", "prices.toml")
    estimated = pomona("cloud", "estimate", *args, "--json").json
    checked = 0
    for step in estimated["steps"]:
        formula = step["formula"].replace(",", "")
        formula = re.sub(
            r" (?:hours|bytes|GB|EC2|EMR|vCPU|USD)\b| for \d+ GB|1 primary", _blank, formula
        )
        if not re.fullmatch(r"[\d.e\s()+*/-]+", formula):
            continue
        result = float(re.sub(r"[^\d.]", "", step["result"]))
        value = eval(formula) * (100 if step["result"].endswith("%") else 1)
        assert result == pytest.approx(
            value, rel=0.005, abs=0.06 if "." in step["result"] else 0.51
        ), step
        checked += 1
    assert checked > 15


def _blank(match: re.Match[str]) -> str:
    return "1" if "primary" in match[0] else ""


def test_estimate_equals_manual_calculation() -> None:
    result = estimate(Workload(10_000_000, 1_000_000, rate=50.0), names("limits.nodes = 11").config)
    assert result.hours == pytest.approx(
        10_000_000 / (50 * 40) / 3600
    )  # ten nodes with four cores each ingest
    assert result.hours_per_day == pytest.approx(
        1_000_000 / (50 * 4) / 3600
    )  # one of two nodes ingests
    assert result.nodes == 2
    assert result.storage_gb == pytest.approx(40 + 14)
    assert result.storage_gb_per_day == pytest.approx(4 + 24 * 14)  # hourly refits, all kept


@pytest.mark.parametrize(
    ("schedule", "refits"),
    [("rate(1 hour)", 24), ("rate(30 minutes)", 48), ("rate(2 days)", 0.5), ("cron(0 2 * * ? *)", 1), ("never", 0)],
)  # fmt: skip
def test_refits_per_day_follow_schedule(schedule: str, refits: float) -> None:
    config = names(f'refit.schedule = "{schedule}"').config
    assert refits_per_day(Workload(10, 1), config) == refits
    assert refits_per_day(Workload(10, 0), config) == 0
    notes = estimate(Workload(10, 1), config).notes
    assert any("counts as one refit a day" in note for note in notes) == ("cron" in schedule)


def test_nodes_keep_up_with_new_images() -> None:
    images_per_day = 86_400 * 100 * 4 * 3  # three nodes of four cores, all day
    result = estimate(Workload(0, images_per_day, rate=100.0), names().config)
    assert result.nodes == 4
    assert result.hours_per_day == pytest.approx(24)
    exceeding = estimate(Workload(0, 10 * images_per_day, rate=100.0), names().config)
    assert "limits.nodes is 8: new images need 31" in exceeding.notes


def test_estimate_without_price_table_has_no_cost(pomona: Command) -> None:
    done = pomona("cloud", "estimate", "--images", "10e6", "--a-day", "1e6")
    assert (done.status, done.err) == (0, "")
    assert "no cost: specify a price table with --prices" in done.out
    assert "per month: nodes" not in done.out
    assert "cost" not in pomona("cloud", "estimate", "--images", "5", "--json").json


def test_cost_follows_price_table(pomona: Command) -> None:
    Path("prices.toml").write_text(PRICES)
    args = ("--images", "1e6", "--rate", "100", "--prices", "prices.toml", "--json")
    cost = pomona("cloud", "estimate", *args).json["cost"]
    hours = 1_000_000 / (100 * 4 * 7) / 3600
    assert cost["currency"] == "USD"
    assert cost["one_time"] == pytest.approx(hours * 9 * 2.5 + 3.0 + 5.0, rel=1e-6)
    lists = 730 * (60 + 6) * 1000 / 1000 * 0.005  # a trigger each minute, and sweeps
    stored = 4.0 + 1.4  # features and one refit; without new images there is no other refit
    assert cost["per_month"] == pytest.approx(730 * 3 * 2.5 + lists + stored * 0.25, rel=1e-6)
    Path("cluster.toml").write_text(MINIMAL + 'mode = "serverless"\n')
    cost = pomona("cloud", "estimate", *args).json["cost"]
    # Of eight nodes, one is for the driver, and one for a refit.
    hours, driver_and_6 = hours * 7 / 6, 26 * 0.5 + 79 * 0.25
    assert cost["one_time"] == pytest.approx(hours * driver_and_6 + 3.0 + 5.0, rel=1e-6)


def test_requests_of_a_stream_follow_its_trigger_interval() -> None:
    workload = Workload(1_000_000, 100_000)
    for more, listings in (
        ("", 730 * (60 + 6)),
        ("ingest.trigger_seconds = 5", 730 * (720 + 6)),
        ("ingest.trigger_seconds = 7200", 730 // 2 + 730 * 6),
        ('ingest.mode = "once"', 0),
    ):
        result = estimate(workload, names(more).config)
        assert result.requests == Requests(reads=3_000_000, lists=1_000_000)
        assert result.requests_per_month == Requests(9_000_000, listings * 4000 + 3_000_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("ec2_hour = 2", 'ec2_hour = ""'),
            """instances."m5.xlarge".ec2_hour is ''; enter a price""",
        ),
        (("ec2_hour = 2", "ec2_hour = -1"), "ec2_hour is -1; enter a price"),
        (("ec2_hour = 2", "ec2_hour = true"), "ec2_hour is True; enter a price"),
        (('"m5.xlarge"', '"m5.large"'), "ec2_hour is missing; enter a price"),
        (('"USD"', '""'), "currency is ''"),
        (("list_1000 = 0.005", ""), "requests.list_1000 is missing; enter a price"),
        (("[storage]", "[storage"), "prices.toml: invalid TOML: "),
    ],
)
def test_missing_or_invalid_price_is_reported(
    change: tuple[str, str], message: str, pomona: Command
) -> None:
    Path("prices.toml").write_text(PRICES.replace(*change))
    args = ("--images", "10", "--prices", "prices.toml")
    assert message in pomona("cloud", "estimate", *args).error_line


def test_example_price_table_has_no_prices(pomona: Command) -> None:
    def values(table: dict[str, object]) -> list[object]:
        return [
            value
            for item in table.values()
            for value in (values(item) if isinstance(item, dict) else [item])
        ]

    assert set(values(tomllib.loads(EXAMPLE))) == {""}
    done = pomona("cloud", "prices")
    assert done.out == EXAMPLE
    Path("prices.toml").write_text(done.out)
    args = ("--images", "10", "--prices", "prices.toml")
    assert "currency is ''" in pomona("cloud", "estimate", *args).error_line


@pytest.mark.parametrize("text", ["2500000", "2,500,000", "2_500_000", "2.5e6", " 2500000 "])
def test_count_accepts_separators_and_exponents(text: str, pomona: Command) -> None:
    steps = pomona("cloud", "estimate", "--images", text, "--json").json["steps"]
    assert [step["formula"] for step in steps if step["quantity"] == "features"] == [
        "2,500,000 * 4,000 / 1e9"
    ]


@pytest.mark.parametrize(
    "args",
    [
        ("--images", "many"),
        ("--images", "1.5"),
        ("--images", "nan"),
        ("--images", "-3"),
        ("--images", "1,5"),
        ("--images", "1_"),
        ("--images", "1e16"),
        ("--images", "1", "--a-day", "inf"),
        ("--images", "1", "--components", "0"),
        ("--images", "1", "--rate", "1e-320"),
        ("--images", "1", "--rate", "1e+308"),
        ("--images", "1", "--image-kb", "0"),
        ("--images", "1", "--rate", "0"),
        ("--images", "1", "--rate", "nan"),
        ("--images", "1", "--cores", "0"),
        ("--images", "1", "--image-kb", "-1"),
        ("--images", "1", "--prices", "none.toml"),
        ("--images", "1", "-f", "none.toml"),
    ],
)
def test_invalid_number_is_reported_in_one_line(args: tuple[str, ...], pomona: Command) -> None:
    done = pomona("cloud", "estimate", *args)
    assert done.status in (1, 2)
    assert args[-1] in done.error_line or args[-1] + ".0" in done.error_line
