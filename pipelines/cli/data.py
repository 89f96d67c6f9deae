"""Commands about data: phantoms, ingestion, validation, preprocessing, features of one mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar

OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
ManifestArgument = Annotated[
    str, typer.Argument(help="Cohort manifest: CSV path or s3:// address.")
]


def phantom(
    site: Annotated[str, typer.Option(help="severance, snuh or tcia.")],
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")],
    out: OutFolder,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    resolution: Annotated[float, typer.Option(help="Rendering resolution in mm (1 or 2).")] = 1.0,
    motion: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Move T2 and FLAIR within ±DEGREES and ±MM an axis, not as at the site."),
    ] = None,
) -> None:
    """Make a phantom cohort with known truth."""
    from components.cohort.phantom.dataset import make_cohort
    from components.cohort.phantom.parameters import moved_within
    from components.cohort.phantom.settings import PhantomSettings
    from components.cohort.phantom.sites import site_named

    settings = PhantomSettings(resolution_mm=resolution)
    with progress_bar("phantoms") as progress:
        manifest = make_cohort(
            site_named(site),
            patients,
            seed,
            out,
            settings,
            workers=workers,
            progress=progress,
            change=moved_within(*motion) if motion else None,
        )
    console.print(f"wrote {manifest}")


def ingest(
    dicom_root: Annotated[Path, typer.Argument(help="Folder of a DICOM export.")],
    out: OutFolder,
    site: Annotated[str, typer.Option(help="The manifest's site column.")] = "hospital",
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Keep PatientID: it is already a pseudonym.")
    ] = False,
    pseudonym_key: Annotated[
        Path | None,
        typer.Option(help="File with a secret: identifiers are a keyed hash, alike in any export."),
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(help="PATIENT:t1c=SERIES takes a series that the headers leave in doubt."),
    ] = None,
) -> None:
    """Convert a DICOM export to de-identified NIfTI files and a manifest."""
    from components.cohort.dicom.identity_files import read_key
    from components.cohort.dicom.ingest import ingest as ingest_export

    with progress_bar("ingest") as progress:
        done = ingest_export(
            dicom_root,
            out,
            site=site,
            keep_ids=keep_ids,
            key=read_key(pseudonym_key) if pseudonym_key else None,
            choose=choose or (),
            progress=progress,
        )
    console.print(
        f"{done.patients} patients, {done.complete} with all sequences: {done.manifest}; "
        f"what was chosen and why: {done.chosen}"
    )
    if done.other_files:
        console.print(f"{done.other_files} files passed over: no DICOM image, or damaged")
    if done.identities:
        console.print(f"who is who, for your eyes alone: {done.identities}")


def adapt(
    release: Annotated[str, typer.Argument(help="ucsf-pdgm, upenn-gbm, tcga or egd.")],
    images: Annotated[Path, typer.Argument(help="Folder of the dataset as downloaded.")],
    table: Annotated[list[Path], typer.Option(help="Its metadata table; repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="Manifest to write.")] = Path("manifest.csv"),
) -> None:
    """Write the manifest of a public dataset: UCSF-PDGM, UPENN-GBM, BraTS-TCGA, EGD."""
    from components.cohort.public_datasets.adapt import adapt as adapt_release

    done = adapt_release(release, images, table, out)
    console.print(
        f"{done.patients} patients ({done.mutant} mutant, {done.wildtype} wildtype), "
        f"{done.with_images} with all sequences: {out}"
    )
    if done.left_out:
        console.print(f"{done.left_out_rows} examinations left out, and why: {done.left_out}")


def validate(
    manifest: ManifestArgument,
    out: OutFolder,
    profile: Annotated[
        str, typer.Option(help="Profile that names the required sequences.")
    ] = "paper",
    against: Annotated[
        str | None,
        typer.Option(help="Another manifest of these patients: warn where the two differ."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Validate a cohort: accepted.csv, images.csv, quarantine.csv, validation.json, .html."""
    from components.validate.validate import validate_manifest
    from pipelines.profile import load_profile

    settings = load_profile(profile).validation
    with progress_bar("validate") as progress:
        result = validate_manifest(manifest, settings, out, progress, against)
    if as_json:
        print_json(result.report)
        return
    console.print(
        f"{result.report['accepted']} accepted, {result.report['quarantined']} quarantined "
        f"of {result.report['patients']}; read {out}/validation.html"
    )


def preprocess(
    manifest: ManifestArgument,
    out: OutFolder,
    profile: Annotated[str, typer.Option(help="Profile whose preprocessing is used.")] = "paper",
    workers: Annotated[int, typer.Option(min=1, help="Processes; one patient each.")] = 2,
) -> None:
    """Register, extract the brain, correct bias, normalise and crop every patient."""
    from components.cohort.manifest import read_manifest
    from components.preprocess.cohort import prepare_cohort
    from components.preprocess.plan import make_plan
    from pipelines.profile import load_profile

    patients = read_manifest(manifest)
    plan = make_plan(load_profile(profile).preprocess)
    with progress_bar("preprocess") as progress:
        failures = prepare_cohort(patients, plan, out, workers=workers, progress=progress)
    console.print(f"{len(patients) - len(failures)} prepared in {out}, {len(failures)} failed")
    for failure in failures:
        console.print(f"  {failure.patient_id}: {failure.reason}; {failure.remedy}")


def features(
    mask: Annotated[Path, typer.Option(help="Tumour mask, NIfTI.")],
    t1c: Annotated[Path | None, typer.Option(help="T1C, for the loci features.")] = None,
    age: Annotated[float | None, typer.Option(help="Years.")] = None,
    profile: Annotated[str, typer.Option(help="Profile whose limits and grid are used.")] = "paper",
    as_json: Json = False,
) -> None:
    """The 24 numeric features of one mask."""
    from components.features.single_mask import features_of_mask
    from pipelines.profile import load_profile

    values = features_of_mask(mask, t1c, age, load_profile(profile).preprocess)
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        console.print(f"{name:<26}{'-' if value is None else f'{value:.4f}':>14}", highlight=False)


COMMANDS: Commands = {"Data": (phantom, ingest, adapt, validate, preprocess, features)}
