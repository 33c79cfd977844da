"""The price book: what is priced, what is not, and what a broken book says."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import PriceError
from customhouse.observability import hardware
from customhouse.observability.prices import PACKAGED, PREEMPTIBLE, PriceBook, require_currency
from customhouse.observability.rates import RateCard

HEADER = "provider,region,instance_type,pricing,usd_per_hour,as_of"


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.load()


def own(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def altered(tmp_path: Path, change: dict[str, bytes]) -> Path:
    """The packaged archive with some members replaced."""
    path = tmp_path / "altered.zip"
    with zipfile.ZipFile(PACKAGED) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, change.get(name, source.read(name)))
    return path


def test_a_machine_has_the_price_of_the_source_with_date_and_row(book: PriceBook) -> None:
    rate = book.machine("aws", "us-east-1", "p5.48xlarge")
    assert rate is not None
    assert str(rate.per_hour) == "55.04"
    assert rate.as_of == "2026-07-20T13:44:30Z"
    assert "aws_ondemand.csv us-east-1 p5.48xlarge" in rate.source


def test_a_price_of_zero_is_unpriced_for_every_provider(book: PriceBook) -> None:
    zero = [
        (region, name)
        for region in book.regions("azure")
        for name in ("Standard_M16bds_v4", "Standard_L8as_v3", "Standard_M304bs_4_v4")
        if (price := book._part("azure", region).get((name, "OnDemand"))) and float(price.usd_per_hour) == 0
    ]
    assert zero
    assert all(book.machine("azure", region, name) is None for region, name in zero)
    assert book.unit("L4", "gcp", "us-central1") is None
    assert book.unit("A100-40GB", "gcp", "us-central1", PREEMPTIBLE) is None


def test_what_is_not_in_the_book_has_no_price(book: PriceBook) -> None:
    assert book.machine("aws", "us-east-1", "p9.gigantic") is None
    assert RateCard(book, "aws", "us-east-1").rate("H900") is None


def test_a_region_that_the_book_does_not_have_is_an_error_that_names_near_ones(book: PriceBook) -> None:
    with pytest.raises(PriceError, match="westeurop") as caught:
        book.require("azure", "westeurop")
    assert "westeurope" in caught.value.hint
    with pytest.raises(PriceError, match="no prices for 'oracle'"):
        RateCard(book, "oracle", "anywhere")


def test_another_currency_is_refused_and_not_converted_with_an_invented_rate() -> None:
    with pytest.raises(PriceError, match="EUR"):
        require_currency("EUR")


def test_the_digest_is_that_of_the_index_and_a_declared_one_is_checked(book: PriceBook) -> None:
    with zipfile.ZipFile(PACKAGED) as archive:
        index = archive.read("index.json")
    assert book.digest == bytes_digest(index)
    assert PriceBook.load(expected_digest=book.digest).digest == book.digest
    with pytest.raises(PriceError, match="was declared"):
        PriceBook.load(expected_digest="sha256:" + "0" * 64)
    with pytest.raises(PriceError, match="was declared"):
        PriceBook.load(expected_digest="latest")


def test_one_altered_price_is_noticed_when_its_region_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(PACKAGED) as archive:
        prices = archive.read("prices/aws/us-east-1.csv")
    path = altered(tmp_path, {"prices/aws/us-east-1.csv": prices.replace(b"55.040000", b"05.040000")})
    book = PriceBook.load(path)
    with pytest.raises(PriceError, match="does not have the digest"):
        book.machine("aws", "us-east-1", "p5.48xlarge")
    assert book.machine("azure", "eastus", "Standard_D4s_v5") is not None


def test_an_altered_catalogue_of_machines_is_noticed(tmp_path: Path) -> None:
    with zipfile.ZipFile(PACKAGED) as archive:
        shapes = archive.read("shapes/aws.csv")
    path = altered(tmp_path, {"shapes/aws.csv": shapes.replace(b"H100", b"L4")})
    with pytest.raises(PriceError, match=r"shapes/aws\.csv does not have the digest"):
        RateCard(PriceBook.load(path), "aws", "us-east-1").rate("vcpu")


@pytest.mark.parametrize(
    "index",
    [
        b"{}",
        b"not json",
        b"[]",
        b'{"schema":"customhouse.dev/price-book/v1","parts":{"aws":{"as_of":"x"}}}',
        b"[" * 99999,
    ],
)
def test_an_archive_with_a_broken_index_is_refused(tmp_path: Path, index: bytes) -> None:
    with pytest.raises(PriceError):
        PriceBook.load(altered(tmp_path, {"index.json": index}))


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.zip"
    path.write_bytes(PACKAGED.read_bytes()[:50_000])
    with pytest.raises(PriceError, match="not a price book"):
        PriceBook.load(path)


def test_a_member_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.json", b" " * (9 << 20))
    with pytest.raises(PriceError, match="larger than 8 MiB"):
        PriceBook.load(path)


def test_an_archive_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = altered(tmp_path, {"index.json": canonical_json({"schema": "customhouse.dev/price-book/v9", "parts": {}})})
    with pytest.raises(PriceError, match="v9"):
        PriceBook.load(path)


def test_a_missing_book_is_an_error_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(PriceError) as caught:
        PriceBook.load(tmp_path / "none.csv")
    assert "none.csv" in caught.value.where


def test_own_prices_go_before_list_prices_and_change_the_digest(tmp_path: Path, book: PriceBook) -> None:
    path = own(
        tmp_path, "aws,us-east-1,p5.48xlarge,OnDemand,30.00,2026-08-01", "aws,on-prem,unit/vcpu,,0.01,2026-01-01"
    )
    layered = PriceBook.load(path, over=book)
    rate = layered.machine("aws", "us-east-1", "p5.48xlarge")
    assert rate is not None
    assert str(rate.per_hour) == "30.00"
    assert rate.source.startswith("prices.csv:2")
    assert layered.machine("aws", "us-east-1", "p5.4xlarge") == book.machine("aws", "us-east-1", "p5.4xlarge")
    assert layered.digest != book.digest
    assert "on-prem" in layered.regions("aws")
    assert layered.reference("aws", "us-east-1").digest == layered.digest


def test_a_region_of_ones_own_needs_prices_only_since_the_shapes_are_known(tmp_path: Path, book: PriceBook) -> None:
    rows = [
        f"aws,eu-west-1,{name},,{price},2026-08-01" for name, price in (("m7i.xlarge", "0.2"), ("r7i.xlarge", "0.28"))
    ]
    layered = PriceBook.load(own(tmp_path, *rows, "aws,eu-west-1,g6.xlarge,,0.9,2026-08-01"), over=book)
    card = RateCard(layered, "aws", "eu-west-1")
    rates = [card.rate(unit) for unit in ("vcpu", "GiB", "L4")]
    assert [str(rate.per_hour) for rate in rates if rate] == ["0.03", "0.005", "0.70"]


def test_a_book_of_a_git_revision_is_read_from_its_bytes(tmp_path: Path, book: PriceBook) -> None:
    path = own(tmp_path, "aws,us-east-1,x,OnDemand,1,2026-01-01")
    read = PriceBook.read(path.read_bytes(), "finance/prices.csv", over=book)
    assert read.digest == PriceBook.load(path, over=book).digest
    assert read.machine("aws", "us-east-1", "x").source.startswith("finance/prices.csv:2")  # type: ignore[union-attr]
    with pytest.raises(PriceError, match="larger than 32 MiB"):
        PriceBook.read(b" " * ((32 << 20) + 1), "big.csv")


def test_an_own_price_of_zero_takes_the_list_price_away(tmp_path: Path, book: PriceBook) -> None:
    path = own(tmp_path, "aws,us-east-1,p5.48xlarge,OnDemand,0,2026-08-01")
    assert PriceBook.load(path, over=book).machine("aws", "us-east-1", "p5.48xlarge") is None


def test_own_machines_with_shape_and_class_give_an_accelerator_rate(tmp_path: Path) -> None:
    path = own(
        tmp_path,
        "lab,hall-1,unit/vcpu,,0.02,2026-01-01,,,,",
        "lab,hall-1,unit/GiB,,0.001,2026-01-01,,,,",
        "lab,hall-1,dgx,,20.00,2026-01-01,100,102400,8,H100",
        header=HEADER + ",vcpu,memory_mib,gpu_count,gpu_class",
    )
    rate = RateCard(PriceBook.load(path), "lab", "hall-1").rate("H100")
    assert rate is not None
    assert str(rate.per_hour) == "2.2375"  # (20 − 100 × 0.02 − 100 × 0.001) / 8
    assert "dgx 20.00 USD/h less 100 vCPU" in rate.source


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("aws,us-east-1,x,OnDemand,cheap,2026-01-01", "not an amount"),
        ("aws,us-east-1,x,OnDemand,-1,2026-01-01", "negative"),
        ("aws,us-east-1,x,OnDemand,1,soon", "not a date"),
        ("aws,us-east-1,x,OnDemand,1,20260101", "not a date"),
        ("aws,us-east-1,x,Spot,1,2026-01-01", "pricing 'Spot'"),
        ("aws,us-east-1,,OnDemand,1,2026-01-01", "must not be empty"),
        ("aws,us-east-1,x,OnDemand,1", "more or fewer fields"),
        ("aws,us-east-1,x,OnDemand,1,2026-01-01,extra", "more or fewer fields"),
        ("aws,us-east-1,x,OnDemand,0.0000000000001,2026-01-01", "more than twelve"),
    ],
)
def test_a_broken_row_is_an_error_with_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    path = own(tmp_path, "aws,us-east-1,fine,OnDemand,1,2026-01-01", row)
    with pytest.raises(PriceError, match=message) as caught:
        PriceBook.load(path)
    assert caught.value.where == "prices.csv:3"


def test_two_prices_for_one_machine_are_refused(tmp_path: Path) -> None:
    row = "aws,us-east-1,x,OnDemand,1,2026-01-01"
    with pytest.raises(PriceError, match="two prices"):
        PriceBook.load(own(tmp_path, row, row))


@pytest.mark.parametrize("shape", ["0,1024,0,", "2,0,0,", "2,1024,-1,", "two,1024,0,"])
def test_an_impossible_machine_is_refused(tmp_path: Path, shape: str) -> None:
    header = HEADER + ",vcpu,memory_mib,gpu_count,gpu_class"
    with pytest.raises(PriceError, match=r"whole numbers|above 0"):
        PriceBook.load(own(tmp_path, f"aws,us-east-1,x,OnDemand,1,2026-01-01,{shape}", header=header))


def test_a_file_without_the_columns_or_in_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match="no column 'provider'"):
        PriceBook.load(own(tmp_path, header="name,price"))
    path = tmp_path / "latin.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe")
    with pytest.raises(PriceError, match="not UTF-8"):
        PriceBook.load(path)


def test_old_prices_are_said_to_be_old(book: PriceBook) -> None:
    fresh = book.staleness("aws", "us-east-1", datetime(2026, 7, 21, 14, tzinfo=UTC))
    assert (fresh.days, fresh.warning) == (1, None)
    old = book.staleness("aws", "us-east-1", datetime(2027, 7, 20, 14, tzinfo=UTC), max_age_days=90)
    assert old.days == 365
    assert old.warning is not None
    assert "2026-07-20" in old.warning
    assert book.staleness("aws", "us-east-1", datetime(2020, 1, 1, tzinfo=UTC)).days == 0


def test_every_accelerated_machine_with_a_price_has_a_class(book: PriceBook) -> None:
    nameless = [
        name
        for provider in book.providers()
        for name, shape in book._catalogue(provider).items()
        if shape.devices and shape.accelerator is None
    ]
    assert nameless == [f"Standard_NC{size}ads_A10_v4" for size in (16, 32, 8)]  # said why in `hardware`


@pytest.mark.parametrize(
    ("provider", "name", "model", "share"),
    [
        ("aws", "p5.48xlarge", "H100", "1"),
        ("aws", "p5en.48xlarge", "H200", "1"),
        ("aws", "p4d.24xlarge", "A100-40GB", "1"),
        ("aws", "p4de.24xlarge", "A100-80GB", "1"),
        ("aws", "g5.xlarge", "A10G", "1"),
        ("aws", "g5g.xlarge", "T4G", "1"),
        ("aws", "gr6.4xlarge", "L4", "1"),
        ("aws", "g6e.xlarge", "L40S", "1"),
        ("azure", "Standard_NV6ads_A10_v5", "A10", "1/6"),
        ("azure", "Standard_NV72ads_A10_v5", "A10", "1"),
        ("azure", "Standard_ND96isr_H200_v5", "H200", "1"),
        ("azure", "Standard_ND96asr_v4", "A100-40GB", "1"),
        ("azure", "Standard_ND96amsr_A100_v4", "A100-80GB", "1"),
        ("azure", "Standard_NCC40ads_H100_v5", "H100", "1"),
        ("gcp", "a2-ultragpu-8g", "A100-80GB", "1"),
        ("gcp", "g2-standard-48", "L4", "1"),
    ],
)
def test_an_instance_family_carries_the_documented_accelerator(
    provider: str, name: str, model: str, share: str
) -> None:
    found = hardware.accelerator(provider, name)
    assert found is not None
    assert (found.name, str(found.share)) == (model, share)


def test_part_of_an_accelerator_is_never_taken_for_a_whole_one(book: PriceBook) -> None:
    whole = {machine.name for machine in RateCard(book, "azure", "eastus").machines("A10")}
    assert "Standard_NV36ads_A10_v5" in whole
    assert not whole & {"Standard_NV6ads_A10_v5", "Standard_NV12ads_A10_v5", "Standard_NV18ads_A10_v5"}


def test_unit_rates_rebuild_the_prices_of_their_machines_within_two_percent(book: PriceBook) -> None:
    card = RateCard(book, "aws", "us-east-1")
    vcpu, gib = card.rate("vcpu"), card.rate("GiB")
    assert vcpu is not None
    assert gib is not None
    for name, size in (("c7i.2xlarge", 16), ("m7i.2xlarge", 32), ("r7i.2xlarge", 64)):
        machine = book.machine("aws", "us-east-1", name)
        assert machine is not None
        rebuilt = vcpu.per_hour.scale(8) + gib.per_hour.scale(size)
        assert abs(rebuilt.pico - machine.per_hour.pico) * 50 < machine.per_hour.pico
    assert "step 2" in vcpu.source


def test_an_accelerator_rate_says_how_the_price_was_split_and_adds_up(book: PriceBook) -> None:
    card = RateCard(book, "aws", "us-east-1")
    vcpu, gib, h100 = card.rate("vcpu"), card.rate("GiB"), card.rate("H100")
    assert vcpu
    assert gib
    assert h100
    assert h100.sku == "p5.4xlarge"
    assert (
        h100.per_hour + vcpu.per_hour.scale(16) + gib.per_hour.scale(256)
        == card.book.machine("aws", "us-east-1", "p5.4xlarge").per_hour
    )  # type: ignore[union-attr]
    assert "less 16 vCPU" in h100.source


def test_every_region_has_positive_unit_rates(book: PriceBook) -> None:
    for provider in book.providers():
        for region in book.regions(provider):
            card = RateCard(book, provider, region)
            for unit in ("vcpu", "GiB"):
                rate = card.rate(unit)
                assert rate is not None, (provider, region, unit)
                assert rate.per_hour.pico > 0


def test_spot_is_priced_only_where_the_book_has_spot_prices(book: PriceBook) -> None:
    google, amazon = (RateCard(book, *place, spot=True) for place in (("gcp", "us-central1"), ("aws", "us-east-1")))
    assert google.spot_priced
    assert str(google.rate("T4").per_hour) == "0.11"  # type: ignore[union-attr]
    assert not amazon.spot_priced
    on_demand = RateCard(book, "aws", "us-east-1").rate("vcpu")
    assert amazon.rate("vcpu").per_hour == on_demand.per_hour  # type: ignore[union-attr]
    assert "no spot price in the book" in amazon.rate("vcpu").source  # type: ignore[union-attr]


def test_a_region_with_machines_of_one_shape_only_is_split_by_the_stated_ratio(tmp_path: Path) -> None:
    header = HEADER + ",vcpu,memory_mib"
    path = own(tmp_path, "lab,hall,box,,1.00,2026-01-01,4,16384", header=header)
    card = RateCard(PriceBook.load(path), "lab", "hall")
    vcpu, gib = card.rate("vcpu"), card.rate("GiB")
    assert vcpu
    assert gib
    assert "step 3" in vcpu.source
    assert abs((vcpu.per_hour.scale(4) + gib.per_hour.scale(16)).pico - 10**12) <= 16


def test_a_region_where_nothing_has_a_shape_has_no_unit_rates(tmp_path: Path) -> None:
    card = RateCard(PriceBook.load(own(tmp_path, "lab,hall,box,,1.00,2026-01-01")), "lab", "hall")
    assert card.rate("vcpu") is None
    assert card.rate("GiB") is None
    assert card.rate("H100") is None


def test_a_price_below_its_cpu_and_memory_leaves_the_accelerator_unpriced(tmp_path: Path) -> None:
    path = own(
        tmp_path,
        "lab,hall,unit/vcpu,,1.00,2026-01-01,,,,",
        "lab,hall,unit/GiB,,1.00,2026-01-01,,,,",
        "lab,hall,box,,1.00,2026-01-01,4,16384,1,H100",
        header=HEADER + ",vcpu,memory_mib,gpu_count,gpu_class",
    )
    assert RateCard(PriceBook.load(path), "lab", "hall").rate("H100") is None


def test_reading_one_region_does_not_read_the_others() -> None:
    book = PriceBook.load()
    RateCard(book, "aws", "us-east-1").rate("H100")
    assert set(book._parts) == {("aws", "us-east-1")}


def test_the_index_names_every_source_with_its_digest() -> None:
    with zipfile.ZipFile(io.BytesIO(PACKAGED.read_bytes())) as archive:
        index = json.loads(archive.read("index.json"))
    assert [source["file"] for source in index["sources"]] == [
        "aws_ondemand.csv",
        "azure_ondemand.csv",
        "gce.csv",
        "machine_shapes.csv",
    ]
    assert all(source["sha256"].startswith("sha256:") and source["origin"] for source in index["sources"])
    beside = {path.name for path in PACKAGED.parent.iterdir()}
    assert {"LICENSE.kubernetes-autoscaler", "NOTICE.karpenter-provider-azure", "SOURCES.md"} <= beside
    assert PACKAGED.stat().st_size < 1_500_000
