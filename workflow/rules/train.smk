# Mixtures become a trained network, one job per seed.

# The kernels are among its sources: what they compute is what is learnt.
TRAINING_SOURCES = source(
    "csrc/**/*.h",
    "csrc/**/*.cpp",
    "csrc/**/*.cu",
    "gmcn/data/augmentation.py",
    "gmcn/mixture/affine.py",
    "gmcn/mixture/mixture.py",
    "gmcn/models/*.py",
    "gmcn/nn/*.py",
    "gmcn/ops/**/*.py",
    "gmcn/ranks.py",
    "gmcn/training/*.py",
)


rule train:
    input:
        mixtures=mixtures_of,
        points=f"{RESULTS}/points/{{dataset}}.safetensors",
        src=TRAINING_SOURCES,
    output:
        # Checkpoints are no outputs: Snakemake deletes those before every attempt, and a stopped training resumes.
        # So does one that was killed before Snakemake had noted its outputs: `summarise` deletes its last checkpoint.
        model=f"{RESULTS}/runs/{{dataset}}_{{variant}}/seed{{seed}}/model.safetensors",
        history=f"{RESULTS}/runs/{{dataset}}_{{variant}}/seed{{seed}}/history.csv",
        summary=f"{RESULTS}/runs/{{dataset}}_{{variant}}/seed{{seed}}/training.json",
    log:
        f"{RESULTS}/logs/train/{{dataset}}_{{variant}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{dataset}}_{{variant}}_seed{{seed}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(16000),
        # The next attempt goes on from a checkpoint.
        runtime=1440,
        gpu=lambda wildcards: gpus() * math.prod(processes_of(wildcards).values()),
        # GPUs that are asked for together may lie on several nodes otherwise.
        nodes=lambda wildcards: processes_of(wildcards)["nodes"],
        mpi=tasks("mpi"),
        tasks_per_node=tasks("tasks_per_node"),
        tasks=tasks("tasks"),
        tasks_per_gpu=tasks("tasks_per_gpu"),
        cpus_per_task=tasks("cpus_per_task"),
    params:
        launch=launch,
        settings=settings("train"),
        folder=lambda wildcards, output: os.path.dirname(output.model),
        device=device,
        options=options,
    message:
        "Training {wildcards.variant} on {wildcards.dataset}, seed {wildcards.seed}, {threads} threads"
    shell:
        "{params.launch} --dataset {wildcards.dataset} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --settings {params.settings:q} --mixtures {input.mixtures:q} --points {input.points:q} --output {params.folder:q}"
        " --device {params.device} --threads {threads} {params.options} --log {log:q}"
