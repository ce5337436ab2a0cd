defmodule Cafe.MixProject do
  use Mix.Project

  def project do
    [
      app: :cafe,
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      deps: [{:crema, path: System.get_env("CREMA_PATH") || "../.."}],
      releases: [cafe: [include_executables_for: [:unix]]]
    ]
  end

  def application do
    [extra_applications: [:logger], mod: {Cafe.Application, []}]
  end
end
