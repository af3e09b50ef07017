# Points or images become mixtures of Gaussians, one per shape.


rule fit:
    input:
        points=f"{RESULTS}/points/{{dataset}}.safetensors",
        src=source("gmcn/fitting/*.py", "csrc/fit/*.h", "csrc/fit/*.cpp"),
    output:
        mixtures=f"{RESULTS}/mixtures/{{dataset}}_{{fit}}.safetensors",
        quality=f"{RESULTS}/mixtures/{{dataset}}_{{fit}}.json",
    log:
        f"{RESULTS}/logs/fit/{{dataset}}_{{fit}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit/{{dataset}}_{{fit}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        settings=settings("fit"),
        options=options,
    message:
        "Fitting {wildcards.fit} to {wildcards.dataset}"
    shell:
        "python -m gmcn fit --dataset {wildcards.dataset} --fit {wildcards.fit} --settings {params.settings:q}"
        " --points {input.points:q} --output {output.mixtures:q} --threads {threads} {params.options} --log {log:q}"
