defmodule Crema.ConfigTest do
  # Options come from variables and from the application environment. These are the whole VM's:
  # nothing else runs meanwhile.
  use ExUnit.Case, async: false

  @page Path.expand("../../../docs/configuration.md", __DIR__)

  defp set(name, value) do
    System.put_env(name, value)
    on_exit(fn -> System.delete_env(name) end)
  end

  test "variables are options, and prefixes are added by asking" do
    set("SHOP_BOOTSTRAP_SERVERS", "a:1")
    set("SHOP_PREFIX", "amber-")

    assert {:ok, %{text: text}} = Crema.explain_config({:producer, env: {:prefix, "SHOP"}})
    assert text =~ "bootstrap_servers = a:1  (the variable SHOP_BOOTSTRAP_SERVERS)"
    assert Crema.Config.prefixed({:prefix, "SHOP"}, "orders") == "amber-orders"
    assert Crema.Config.prefixed({:heroku, "NO_SUCH"}, "orders") == "orders"
  end

  test "the page's config/runtime.exs is the application environment" do
    [[example]] =
      Regex.scan(~r/^```exs\n(.*?)^```$/ms, File.read!(@page), capture: :all_but_first)

    file = Path.join(System.tmp_dir!(), "crema_runtime_#{System.pid()}.exs")
    File.write!(file, example)
    [crema: config] = Config.Reader.read!(file)
    File.rm!(file)
    for {key, value} <- config, do: Application.put_env(:crema, key, value)
    on_exit(fn -> for {key, _} <- config, do: Application.delete_env(:crema, key) end)
    set("KAFKA_BOOTSTRAP_SERVERS", "a:1")

    assert {:ok, %{kafka: kafka}} = Crema.explain_config(Crema.Producer.child_spec([]))
    assert %{value: "20", source: {:application, :producer}} = find(kafka, "linger.ms")
    assert %{value: "a:1"} = find(kafka, "bootstrap.servers")
  end

  test "what is missing is told by its variable" do
    assert {:error, {:bad_options, %{message: message}}} =
             Crema.Producer.start_link(env: {:heroku, "NO_SUCH"})

    assert message =~ "the variable NO_SUCH_URL is not set"
  end

  defp find(rows, name), do: Enum.find(rows, &(&1.option == name))
end
