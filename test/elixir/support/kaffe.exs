defmodule Crema.KaffeSupport do
  # Applications of Kaffe's, as text: their configuration files and their code.
  import ExUnit.Callbacks

  @doc "Configures crema for Kaffe's modules until the test is over."
  def configure(sections) do
    Application.put_env(:crema, Crema.Kaffe, sections)
    on_exit(&unconfigure/0)
  end

  # What a call has started is below crema's own application.
  defp unconfigure do
    Application.delete_env(:crema, Crema.Kaffe)
    Supervisor.terminate_child(:crema_sup, Crema.Kaffe.Producer)
  end

  @doc "The same, from the text of a configuration file, with these brokers."
  def configure(file, brokers) do
    text = String.replace(file, ~r/\b(?:kafka|localhost): 9092/, endpoint(brokers))
    [crema: [{Crema.Kaffe, sections}]] = Config.Reader.eval!("config.exs", text)
    configure(sections)
  end

  @doc "A broker as Kaffe has it."
  def endpoints(brokers) do
    [host, port] = brokers |> String.split(",") |> hd() |> String.split(":")
    [{String.to_atom(host), String.to_integer(port)}]
  end

  defp endpoint(brokers) do
    [{host, port}] = endpoints(brokers)
    "#{inspect(to_string(host))}: #{port}"
  end

  @doc "Evaluates code, for which worker/2 of Elixir's first supervisors is good enough."
  def run(code) do
    {{result, _bindings}, _warned} =
      ExUnit.CaptureIO.with_io(:stderr, fn -> Code.eval_string(code) end)

    result
  end
end
