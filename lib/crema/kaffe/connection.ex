defmodule Crema.Kaffe.Connection do
  @moduledoc false
  # Which brokers, and how they are connected to: `endpoints`, `heroku_kafka_env`, `ssl` and `sasl`.

  @mechanisms %{plain: "PLAIN", scram_sha_256: "SCRAM-SHA-256", scram_sha_512: "SCRAM-SHA-512"}

  # Those of Erlang's options that librdkafka has as well.
  @files %{
    cacertfile: "ssl.ca.location",
    certfile: "ssl.certificate.location",
    keyfile: "ssl.key.location",
    password: "ssl.key.password"
  }

  @doc "The same as options of crema's, or what is wrong."
  @spec convert({binary, term}, Crema.Kaffe.Config.section()) :: keyword | {:fault, binary}
  def convert({"endpoints", _endpoints}, %{"heroku_kafka_env" => true}), do: []

  def convert({"endpoints", url}, section) when is_binary(url) do
    case :crema_url.parse(url) do
      {:ok, security, servers} -> protocol(security == :tls, section, bootstrap_servers: servers)
      {:error, why} -> {:fault, why}
    end
  end

  def convert({"endpoints", endpoints}, _section), do: [bootstrap_servers: endpoints]

  def convert({"heroku_kafka_env", true}, _section), do: [env: :heroku]
  def convert({"heroku_kafka_env", false}, _section), do: []
  def convert({"heroku_kafka_env", _other}, _section), do: {:fault, "must be true or false"}

  # Heroku's variables tell of TLS.
  def convert({"ssl", true}, %{"heroku_kafka_env" => true}), do: []
  def convert({"ssl", none}, _section) when none in [false, nil, []], do: []
  def convert({"ssl", true}, section), do: protocol(true, section, [])

  def convert({"ssl", options}, section) when is_list(options) do
    {files, others} =
      Enum.split_with(options, &(is_tuple(&1) and is_map_key(@files, elem(&1, 0))))

    properties = Map.new(files, fn {name, file} -> {@files[name], file} end)

    case others -- [verify: :verify_peer] do
      [] -> protocol(true, section, kafka: properties)
      [verify: :verify_none] -> protocol(true, section, kafka: unverified(properties))
      _ -> {:fault, "must be true, false, or a list of #{names()} and verify"}
    end
  end

  def convert({"ssl", _other}, _section), do: {:fault, "must be true, false or a list of options"}

  def convert({"sasl", sasl}, section) do
    case login(sasl) do
      :none -> []
      {:ok, login} -> protocol(is_secure(section), section, kafka: login)
      error -> error
    end
  end

  defp unverified(properties),
    do: Map.put(properties, "enable.ssl.certificate.verification", false)

  defp names, do: @files |> Map.keys() |> Enum.map_join(", ", &to_string/1)

  defp is_secure(%{"heroku_kafka_env" => true}), do: System.get_env("KAFKA_URL", "") =~ "+ssl://"
  defp is_secure(%{"ssl" => ssl}) when ssl not in [false, nil, []], do: true
  defp is_secure(%{"endpoints" => url}) when is_binary(url), do: url =~ "+ssl://"
  defp is_secure(_section), do: false

  # As Kaffe has it, who has neither name nor password does not log in.
  defp login(none) when none in [nil, [], %{}], do: :none

  defp login(sasl) do
    case if(Keyword.keyword?(sasl), do: Map.new(sasl), else: sasl) do
      %{login: nil, password: nil} ->
        :none

      %{mechanism: mechanism, login: login, password: password}
      when is_map_key(@mechanisms, mechanism) ->
        {:ok,
         %{
           "sasl.mechanism" => @mechanisms[mechanism],
           "sasl.username" => login,
           "sasl.password" => fn -> password end
         }}

      _ ->
        {:fault,
         "must have mechanism (:plain, :scram_sha_256 or :scram_sha_512), login and password"}
    end
  end

  # Of several options that say so each says the same.
  defp protocol(secure, section, options) do
    protocol =
      case {secure or is_secure(section), login(section["sasl"])} do
        {true, {:ok, _}} -> "sasl_ssl"
        {true, _} -> "ssl"
        {false, {:ok, _}} -> "sasl_plaintext"
        {false, _} -> nil
      end

    own = if protocol, do: [kafka: %{"security.protocol" => protocol}], else: []
    own ++ options
  end
end
