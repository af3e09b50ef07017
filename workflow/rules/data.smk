# Published files and built-in data sets become points or images.


rule download:
    output:
        f"{RESULTS}/datasets/{{dataset}}/{{file}}",
    log:
        f"{RESULTS}/logs/download/{{dataset}}/{{file}}.log",
    # No benchmark: Snakemake allows none beside a cache.
    cache: "omit-software"
    retries: 2
    localrule: True
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        dataset="{dataset}",
        file="{file}",
        settings=settings("download"),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        options=options,
    message:
        "Downloading {wildcards.file} of {wildcards.dataset}"
    shell:
        "python -m gmcn download --dataset {params.dataset} --file {params.file:q}"
        " --settings {params.settings:q} --output {params.folder:q} {params.options} --log {log:q}"


rule sample:
    input:
        downloads=downloads_of,
        src=source("gmcn/data/*.py", without=["gmcn/data/augmentation.py"]),
    output:
        f"{RESULTS}/points/{{dataset}}.safetensors",
    log:
        f"{RESULTS}/logs/sample/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sample/{{dataset}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=settings("sample"),
        folder=f"{RESULTS}/datasets/{{dataset}}",
        options=options,
    message:
        "Sampling {wildcards.dataset}"
    shell:
        "python -m gmcn sample --dataset {wildcards.dataset} --settings {params.settings:q}"
        " --downloads {params.folder:q} --output {output:q} --threads {threads} {params.options} --log {log:q}"
